"""Which type of a server is read in which way: PostgreSQL's by OID, MySQL's by protocol code."""

from __future__ import annotations

from handful.labels.drivers.text_values import Kind

_POSTGRESQL_OIDS_BY_KIND = {
    Kind.INTEGER: {"int8": (20, 1016), "int2": (21, 1005), "int4": (23, 1007), "oid": (26, 1028)},
    Kind.FLOAT: {"float4": (700, 1021), "float8": (701, 1022)},
    Kind.NUMERIC: {"numeric": (1700, 1231)},
    Kind.BOOLEAN: {"bool": (16, 1000)},
    Kind.DATE: {"date": (1082, 1182)},
    Kind.TIMESTAMP: {"timestamp": (1114, 1115)},
    Kind.TIMESTAMPTZ: {"timestamptz": (1184, 1185)},
    Kind.TIME: {"time": (1083, 1183), "timetz": (1266, 1270)},
    Kind.INTERVAL: {"interval": (1186, 1187)},
    Kind.JSON: {"json": (114, 199), "jsonb": (3802, 3807)},
    Kind.BYTEA: {"bytea": (17, 1001)},
    Kind.TEXT: {
        "char": (18, 1002),
        "name": (19, 1003),
        "text": (25, 1009),
        "xml": (142, 143),
        "cidr": (650, 651),
        "macaddr8": (774, 775),
        "money": (790, 791),
        "macaddr": (829, 1040),
        "inet": (869, 1041),
        "bpchar": (1042, 1014),
        "varchar": (1043, 1015),
        "bit": (1560, 1561),
        "varbit": (1562, 1563),
        "uuid": (2950, 2951),
    },
}
"""Kind → name of the type: its OID, and that of arrays of it. They never change."""
_SCALARS = {
    pair[0]: kind for kind, types in _POSTGRESQL_OIDS_BY_KIND.items() for pair in types.values()
}
_ARRAYS = {
    pair[1]: kind for kind, types in _POSTGRESQL_OIDS_BY_KIND.items() for pair in types.values()
}


def of_postgresql(oid: int) -> tuple[Kind, Kind]:
    """The kind of a column, and that of its items. A type that stands in no list stays text."""
    if oid in _ARRAYS:
        return Kind.LIST, _ARRAYS[oid]
    return _SCALARS.get(oid, Kind.TEXT), Kind.TEXT


_MYSQL_CODES_BY_KIND = {
    Kind.INTEGER: (1, 2, 3, 8, 9),
    Kind.YEAR: (13,),
    Kind.FLOAT: (4, 5),
    Kind.NUMERIC: (0, 246),
    Kind.DATE: (10, 14),
    Kind.TIMESTAMP: (7, 12, 17, 18),
    Kind.DURATION: (11, 19),
    Kind.BITS: (16,),
    Kind.BYTES: (255,),
}
"""Kind → codes of the protocol. 255 is GEOMETRY; the others are strings."""
_CODES = {code: kind for kind, codes in _MYSQL_CODES_BY_KIND.items() for code in codes}
_JSON_CODE = 245
_BINARY_CHARSET = 63


def of_mysql(code: int, charset: int) -> Kind:
    """The kind of a column by its protocol code and the number of its character set."""
    found = _CODES.get(code)
    if found:
        return found
    is_binary = charset == _BINARY_CHARSET and code != _JSON_CODE
    return Kind.BYTES if is_binary else Kind.TEXT
