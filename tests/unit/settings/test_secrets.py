"""Where a secret may stand in settings.ini, by everything that is told of settings."""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from handful.backends.base import Job
from handful.backends.worker import without_secrets
from handful.errors import Fault, HandfulError, SettingsError, StepError, UserError
from handful.errors.redaction import blotter
from handful.experiment.context import open_experiment
from handful.experiment.fingerprint import differences
from handful.inference.as_trained import as_trained
from handful.inference.choosing import Chosen
from handful.jobs.arguments import ARGUMENTS, ModelArgs
from handful.labels.database import DatabaseLabels
from handful.pipeline.production import describe_production_database
from handful.progress import Silent
from handful.sagemaker.jobs.requests.bundle import make_bundle
from handful.sagemaker.jobs.requests.pieces import join_pieces
from handful.sagemaker.jobs.requests.plan import plan
from handful.sagemaker.jobs.requests.preview import preview_requests
from handful.settings import (
    Settings,
    list_counted_model_settings,
    list_counted_settings,
    public_text,
    read_settings,
    text_before,
    travelling_text,
)
from handful.settings.secrets import counts_the_same
from handful.steps.reconcile.snapshot.snapshot import describe_snapshot_sources
from handful.training.model.card import model_card
from tests.support.servers import free_ports

SECRET = "wombat-4711"
TEXT = """\
[experiment]
STORE = s3://research/experiments
[production]
DATABASE_URL = sqlite:///labels.db
LABEL_QUERY = SELECT artifact_id, label FROM labels
FILES_URL = s3://production/files
FILES_FROM_PROD = text.txt
[train]
MODEL_NAMES = org/model
[user]
POOLING = cls
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HT_SECRET", SECRET)
    monkeypatch.setenv("HT_URL", f"postgresql://me:{SECRET}@{SECRET}.example/{SECRET}")
    monkeypatch.setenv("HT_NUMBER", "471147114711")
    folder = tmp_path / "EXP-1"
    folder.mkdir()
    (folder / "settings.ini").write_text(TEXT)
    return folder


OPTIONS = (
    "token sslpassword passcode passphrase private_key private_key_file_pwd jwt access_token "
    "authenticator krbsrvname sslkey sslcert options service passfile http_path user password "
    "aws_session_token credentials_base64 oauth_client_secret apikey sessiontoken client_secret "
    "sslrootcert sfqid x"
).split()
URLS = {
    **{name: f"snowflake://acct/db?warehouse=w&{name}={SECRET}" for name in OPTIONS},
    "password": f"postgresql://me:{SECRET}@db.example/labels",
    "password with signs": f"postgresql://me:{SECRET}/@?@db.example/labels",
    "login": f"postgresql://{SECRET}:hush@db.example/labels",
    "login alone": f"postgresql://{SECRET}@db.example/labels",
    "odbc_connect": f"mssql+pyodbc:///?odbc_connect=DRIVER%3D%7BX%7D%3BUID%3Dme%3BPWD%3D{SECRET}",
    "odbc_connect, plain": f"mssql+pyodbc:///?odbc_connect=DRIVER={{X Y}};UID={SECRET};PWD=p",
    "no name": f"postgresql://db.example/labels?{SECRET}",
    "blank": f"postgresql://db.example/labels?options=-c a={SECRET}",
    "environment": "postgresql://me:${HT_SECRET}@db.example/labels",
    "whole": "${HT_URL}",
    "host": "postgresql://me:p@${HT_SECRET}/labels",
    "database": "postgresql://db.example/${HT_SECRET}",
    "option": "postgresql://db.example/labels?a=${HT_SECRET}",
}
NAMED = "MY_TOKEN SIGNING_KEY DB_PASS OPENAI_KEY API_KEY db_password AUTH_HEADER".split()
USERS = {
    "environment": "SERVICE = ${HT_SECRET}",
    "within": "SERVICE = a ${HT_SECRET} b",
    **{name: f"{name} = {SECRET}" for name in NAMED},
    "WEBHOOK_URL": f"WEBHOOK_URL = https://hooks.example/{SECRET}",
    "login": f"SITE = https://{SECRET}:p@h.example/x",
    "token as login": f"SITE = https://{SECRET}@h.example/x",
    "password": f"SITE = https://me:{SECRET}@h.example/x",
    "option": f"SITE = https://h.example/x?sig={SECRET}&a=b",
    "jdbc": f"SITE = jdbc:sqlserver://h.example;user=me;password={SECRET}",
    "dsn": f"SITE = Server=h;Uid={SECRET};Pwd=x",
    "comment": f"# OLD_TOKEN = {SECRET}",
    "comment of a URL": f"# it was https://me:p@h.example/?k={SECRET}",
    "two lines": f"CLIENT_SECRET = a\n    {SECRET}",
}


def database(folder: Path, url: str) -> None:
    (folder / "settings.ini").write_text(TEXT.replace("sqlite:///labels.db", url))


TOLD: dict[str, Callable[[Path, Settings], str]] = {
    "fingerprints": lambda _, settings: json.dumps(
        [
            dict(list_counted_settings(settings, s))
            for s in (None, "reconcile", "prepare", "train", "test")
        ]
    ),
    "a model's": lambda _, settings: json.dumps(
        dict(list_counted_model_settings(settings, "org/model"))
    ),
    "the store's copy": lambda folder, _: public_text(folder),
    "repr": lambda _, settings: repr(settings),
    "the snapshot's mark": lambda _, settings: json.dumps(describe_snapshot_sources(settings)),
    "the name in messages": lambda _, settings: describe_production_database(settings),
    "words of others": lambda _, settings: settings.hide(
        f"cannot: {settings.production.DATABASE_URL.partition('?')[2]}"
        f" {settings.production.DATABASE_URL.partition('?')[2]!r}"
        f" {' '.join(str(v) for v in settings.user.values.values())}"
    ),
}


def tellers(folder: Path, settings: Settings, secret: str = SECRET) -> list[str]:
    """Which of `TOLD` tell the secret."""
    return [name for name, told in TOLD.items() if secret in told(folder, settings)]


@pytest.mark.parametrize("place", URLS)
def test_nothing_tells_a_secret_of_the_database(folder: Path, place: str) -> None:
    database(folder, URLS[place])
    settings = read_settings(folder)
    assert tellers(folder, settings) == []
    assert SECRET not in travelling_text(folder, (), {})
    assert SECRET in settings.production.DATABASE_URL


@pytest.mark.parametrize("place", USERS)
def test_nothing_tells_a_secret_of_the_users(folder: Path, place: str) -> None:
    (folder / "settings.ini").write_text(TEXT + USERS[place] + "\n")
    settings = read_settings(folder)
    assert tellers(folder, settings) == []
    if not place.startswith("comment"):
        assert any(SECRET in str(value) for value in settings.user.values.values())


def test_a_query_and_a_number_from_the_environment_are_not_told(folder: Path) -> None:
    text = TEXT.replace("FROM labels", "FROM labels WHERE key = '${HT_SECRET}'")
    (folder / "settings.ini").write_text(text + "PIN = ${HT_NUMBER}\n")
    settings = read_settings(folder)
    assert SECRET in settings.production.LABEL_QUERY
    assert settings.user.PIN == 471147114711
    assert tellers(folder, settings) == []
    assert tellers(folder, settings, "471147114711") == []


def test_what_public_variables_names_is_told(folder: Path) -> None:
    text = TEXT.replace("sqlite:///labels.db", "postgresql://me:p@${HT_SECRET}/labels")
    (folder / "settings.ini").write_text(text + "MY_TOKEN = ${HT_SECRET}\n")
    settings = read_settings(folder, ("experiment.PUBLIC_VARIABLES=HT_SECRET",))
    told = list_counted_settings(settings)
    assert told["[user] MY_TOKEN"] == SECRET
    assert told["[production] DATABASE_URL"] == f"postgresql://{SECRET}/labels"
    assert settings.hide(f"no {SECRET}") == f"no {SECRET}"
    assert describe_production_database(settings) == ""


def test_places_and_models_from_the_environment_stay_readable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HT_PLACE", "s3://somewhere/else")
    monkeypatch.setenv("HT_MODEL", "org/model-of-mine")
    overrides = (
        "experiment.STORE=${HT_PLACE}",
        "production.FILES_URL=${HT_PLACE}/files",
        "train.MODEL_NAMES=${HT_MODEL}",
    )
    told = list_counted_settings(read_settings(folder, overrides))
    assert told["[experiment] STORE"] == "s3://somewhere/else"
    assert told["[production] FILES_URL"] == "s3://somewhere/else/files"
    assert told["[train] MODEL_NAMES"] == "org/model-of-mine"


@pytest.mark.parametrize(
    "setting",
    [
        f"train.MODEL_NAMES=https://me:{SECRET}@h.example/model",
        f"train.MODEL_NAMES=s3://me:{SECRET}@bucket/model",
        f"experiment.STORE=s3://me:{SECRET}@bucket/x",
        f"production.FILES_URL=s3://{SECRET}@bucket/x",
        f"production.S3_ENDPOINT_URL=https://h.example?token={SECRET}",
        "tune.user.POOLING=choice cls ${HT_SECRET}",
        f"production.DATABASE_URL=postgresql://***:***@h/d?a={SECRET}",
        "user.API_KEY=***",
        "user.SITE=https://h.example/x?a=***",
    ],
)
def test_what_cannot_be_meant_is_a_fault_that_tells_nothing(folder: Path, setting: str) -> None:
    with pytest.raises(SettingsError) as error:
        read_settings(folder, (setting,))
    assert SECRET not in str(error.value)
    assert len(error.value.faults) == 1
    if "***" in setting:
        assert "secrets were left out" in str(error.value)
        assert "${" in error.value.faults[0].remedy


# --- stores of before ----------------------------------------------------------------------------


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("written", "before"),
    [
        ("user.MY_TOKEN=abc", {"[user] MY_TOKEN": "abc"}),
        ("user.SITE=https://u:p@h/x?a=b", {"[user] SITE": "https://u:p@h/x?a=b"}),
        ("user.PIN=${HT_NUMBER}", {"[user] PIN": "471147114711"}),
        ("user.A=${HT_SECRET}", {"[user] A": f"${{HT_SECRET}} (sha256 {sha(SECRET)})"}),
        ("user.A=$${x}", {"[user] A": f"$${{x}} (sha256 {sha('${x}')})"}),
        (
            "production.DATABASE_URL=postgresql://u:p@h/d?token=abc&password=x",
            {"[production] DATABASE_URL": "postgresql://h/d?token=abc&password=***"},
        ),
        (
            "production.DATABASE_URL=${HT_URL}",
            {"[production] DATABASE_URL": f"postgresql://{SECRET}.example/{SECRET}"},
        ),
        (
            "production.DATABASE_URL=postgresql://u:${HT_SECRET}@h/d",
            {"[production] DATABASE_URL": "postgresql://h/d"},
        ),
        (
            "production.LABEL_QUERY=SELECT '${HT_SECRET}'",
            {"[production] LABEL_QUERY": f"SELECT '{SECRET}'"},
        ),
        (
            "production.LABEL_QUERY=SELECT f('x://u:p@h')",
            {"[production] LABEL_QUERY": "SELECT f('x://u:***@h')"},
        ),
    ],
)
def test_a_record_of_before_still_counts_as_the_same(
    folder: Path, written: str, before: dict[str, str]
) -> None:
    step = "reconcile"
    now = list_counted_settings(read_settings(folder, (written,)), step)
    then = {**now, **before}
    assert differences(then, now) == []
    assert differences(now, then) == []
    # Another value is another one, and neither is told.
    other = written.replace("abc", "xyz").replace("}", "}x").replace("/d", "/e")
    other = other.replace("f('x", "g('x")
    if other != written:
        (changed,) = differences(then, list_counted_settings(read_settings(folder, (other,)), step))
        assert changed.startswith("[")
        assert not any(one in changed for one in ("abc", "xyz", SECRET, "4711"))


def test_the_hash_of_what_is_encoded_is_that_of_before(folder: Path) -> None:
    (folder / "settings.ini").write_text(
        TEXT + "MY_TOKEN = abc\nA = ${HT_SECRET}\nN = ${HT_NUMBER}\n"
    )
    told = list_counted_settings(read_settings(folder), "prepare", for_hash=True)
    assert told["[user] MY_TOKEN"] == "abc"
    assert told["[user] A"] == f"${{HT_SECRET}} (sha256 {sha(SECRET)})"
    assert told["[user] N"] == "471147114711"


def test_a_value_is_the_same_in_the_clear_and_by_its_hash() -> None:
    assert counts_the_same("abc", f"*** (sha256 {sha('abc')})")
    assert counts_the_same(f"${{A}} (sha256 {sha('abc')})", f"${{B}} (sha256 {sha('abc')})")
    assert not counts_the_same("abc", f"*** (sha256 {sha('abd')})")
    assert not counts_the_same("abc", "abd")


@pytest.mark.parametrize(
    ("entry", "then", "lost", "used"),
    [
        ("SERVICE", f"${{HT_SECRET}} (sha256 {sha(SECRET)})", [], SECRET),
        ("SERVICE", f"${{OLD}} (sha256 {sha('x')})", ["the environment variable OLD"], SECRET),
        ("GONE", f"${{OLD}} (sha256 {sha('x')})", ["the environment variable OLD"], None),
        ("MY_TOKEN", f"*** (sha256 {sha('x')})", ["[user] MY_TOKEN"], "abc"),
        ("MY_TOKEN", "abc", [], "abc"),  # in the clear, as builds before have it
        ("MY_TOKEN", "***", ["[user] MY_TOKEN"], "abc"),
    ],
)
def test_a_model_gets_no_stars_for_a_secret_it_was_trained_with(
    folder: Path, tmp_path: Path, entry: str, then: str, lost: list[str], used: str | None
) -> None:
    (folder / "settings.ini").write_text(TEXT + "SERVICE = ${HT_SECRET}\nMY_TOKEN = abc\n")
    experiment = open_experiment(folder, (), Silent(), tmp_path)
    settings = {
        **list_counted_model_settings(experiment.settings, "org/model"),
        f"[user] {entry}": then,
    }
    chosen = Chosen("org/model", 0, "hash", pinned=True)
    mine, told = as_trained(experiment, chosen, {"settings": settings})
    assert len(told) == len(lost)
    assert all(word in one for word, one in zip(lost, told, strict=True))
    assert mine.settings.user.values.get(entry) == used


def test_a_card_holds_no_hash_of_a_secret() -> None:
    shown = {"[user] A": f"${{A}} (sha256 {sha('a')})", "[user] B": f"*** (sha256 {sha('b')})"}
    record = {
        **{name: {} for name in ("rows", "metrics", "label2id", "environment", "versions")},
        **dict.fromkeys(("epochs", "best_epoch", "steps", "best_step", "seed"), 0),
        **{"experiment": "e", "model": "m", "data_hash": "h" * 16, "settings": shown},
    }
    card = model_card(record)
    assert sha("a") not in card
    assert sha("b") not in card
    assert "${A}" in card


# --- jobs ----------------------------------------------------------------------------------------

SECRETS = "sagemaker.SECRETS=HT_SECRET = arn:one\nHT_URL = arn:two"
PUBLIC = "experiment.PUBLIC_VARIABLES=HT_SECRET"


@pytest.mark.parametrize("place", [p for p in USERS if not p.startswith("comment")])
def test_a_job_gets_a_secret_by_secrets_alone(folder: Path, place: str) -> None:
    (folder / "settings.ini").write_text(TEXT + USERS[place] + "\n")
    key = USERS[place].partition(" ")[0]
    with pytest.raises(SettingsError) as error:
        travelling_text(folder, (), {})
    (fault,) = error.value.faults
    assert f"[user] {key}" in fault.where
    assert "[sagemaker] SECRETS" in fault.remedy
    assert "PUBLIC_VARIABLES" in fault.remedy
    assert SECRET not in str(error.value)
    if "${HT_SECRET}" in USERS[place]:
        assert SECRET not in travelling_text(folder, (SECRETS,), {})
        assert SECRET in travelling_text(folder, (PUBLIC,), {})
        assert SECRET not in travelling_text(folder, (PUBLIC, SECRETS), {})


@pytest.mark.parametrize("place", URLS)
def test_only_a_job_that_asks_production_needs_the_database(folder: Path, place: str) -> None:
    database(folder, URLS[place])
    assert SECRET not in travelling_text(folder, (), {})
    for overrides in ((), (SECRETS,)):
        if overrides and place in ("whole", "database", "option"):  # all of it is in variables
            there = travelling_text(folder, overrides, {}, asks_production=True)
            assert f"DATABASE_URL = {URLS[place]}\n" in there
            continue
        with pytest.raises(SettingsError) as error:
            travelling_text(folder, overrides, {}, asks_production=True)
        assert "[production] DATABASE_URL" in error.value.faults[0].where
        assert SECRET not in str(error.value)


def test_a_query_that_takes_from_the_environment_stays_at_home(folder: Path) -> None:
    text = TEXT.replace("FROM labels", "FROM labels WHERE key = '${HT_SECRET}'")
    (folder / "settings.ini").write_text(text)
    there = travelling_text(folder, (), {})
    assert SECRET not in there
    away = folder.parent / "away"
    away.mkdir()
    (away / "settings.ini").write_text(there)
    here, over_there = read_settings(folder), read_settings(away)
    name = "[production] LABEL_QUERY"
    assert counts_the_same(
        list_counted_settings(here, "reconcile")[name],
        list_counted_settings(over_there, "reconcile")[name],
    )
    with pytest.raises(SettingsError, match="HT_SECRET"):
        travelling_text(folder, (), {}, asks_production=True)
    assert SECRET in travelling_text(folder, (PUBLIC,), {}, asks_production=True)
    with_secrets = travelling_text(folder, (SECRETS,), {}, asks_production=True)
    assert "'${HT_SECRET}'" in with_secrets


def test_labels_that_are_called_like_secrets_travel_as_they_are(folder: Path) -> None:
    there = travelling_text(folder, ("prepare.LABEL_ALIASES=secret = private",), {})
    assert "LABEL_ALIASES = secret = private\n" in there


def test_a_job_of_a_build_before_is_known_again(folder: Path) -> None:
    """The text is what those builds packed, byte for byte."""
    text = TEXT.replace("sqlite:///labels.db", "postgresql://me:${HT_SECRET}@h/d?sslmode=require")
    text = text.replace("POOLING = cls", "POOLING=${HT_NUMBER}\nAPI_KEY=${HT_SECRET}")
    (folder / "settings.ini").write_text(f"# old: x://me:p@h/d?a=b\n{text}")
    (folder / "settings.ini").write_text(
        (folder / "settings.ini")
        .read_text()
        .replace("STORE", "PUBLIC_VARIABLES = HT_NUMBER\nSTORE")
    )
    assert text_before(folder, ("train.EPOCHS=2",), {}) == (
        "# old: x://me:***@h/d?a=b\n[experiment]\n# by --set:\nNAME = EXP-1\n# by --set:\n"
        "STORE = s3://research/experiments\n[production]\n"
        "DATABASE_URL = postgresql://me:${HT_SECRET}@h/d?sslmode=require\n"
        "LABEL_QUERY = SELECT artifact_id, label FROM labels\nFILES_URL = s3://production/files\n"
        "FILES_FROM_PROD = text.txt\n[train]\n# by --set:\nEPOCHS = 2\n# by --set:\n"
        'MODEL_NAMES = "org/model"\n[user]\nPOOLING=471147114711\nAPI_KEY = ${HT_SECRET}\n'
    )


JOBS = """
[compute]
BACKEND = sagemaker
[sagemaker]
ROLE_ARN = arn:aws:iam::123456789012:role/jobs
REGION = eu-central-1
IMAGE_URI = 123456789012.dkr.ecr.eu-central-1.amazonaws.com/image:one
PREPARE_INSTANCE_TYPE = ml.m5.xlarge
TRAIN_INSTANCE_TYPE = ml.g5.xlarge
TEST_INSTANCE_TYPE = ml.m5.xlarge
RECONCILE_AS_JOB = true
"""
STEPS = ("reconcile", "prepare", "tune", "train", "test")


@pytest.fixture
def jobs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("HF_TOKEN", f"hf_{SECRET}")
    text = TEXT.replace("sqlite:///labels.db", "${HT_URL}")
    text = text.replace("FROM labels", "FROM labels WHERE key = '${HT_SECRET}'")
    (folder / "settings.ini").write_text(f"{text}SERVICE = ${{HT_SECRET}}\n{JOBS}")
    (folder / "functions.py").write_text("")
    return folder


@pytest.mark.parametrize("step", STEPS)
def test_no_request_and_no_bundle_holds_a_secret(jobs: Path, tmp_path: Path, step: str) -> None:
    overrides = (SECRETS, "tune.TRIALS=2", "tune.EPOCHS=int 1 2")
    experiment = open_experiment(jobs, overrides, Silent(), tmp_path)
    requests = preview_requests(experiment, [step])
    assert requests
    assert SECRET not in repr(requests)
    told = [request.parameters for request in requests]
    for one in told:
        one = one.get("TrainingJobDefinition", one)
        assert one["Environment"]["HANDFUL_SECRET_HT_SECRET"] == "arn:one"
        for name in ("settings", "job"):
            carried = one.get("HyperParameters") or one.get("StaticHyperParameters") or {}
            assert SECRET not in (join_pieces(name, carried) or "")
    kind = ARGUMENTS[step]
    of_one = ("org/model", 0) if issubclass(kind, ModelArgs) else ()
    packed = plan(experiment, Job(kind(*of_one), str(jobs), overrides))
    assert SECRET.encode() not in packed.bundle.content
    assert SECRET not in packed.job.to_json()


@pytest.mark.parametrize("step", STEPS)
def test_a_job_whose_secrets_would_not_arrive_is_refused(
    jobs: Path, tmp_path: Path, step: str
) -> None:
    overrides = ("tune.TRIALS=2", "tune.EPOCHS=int 1 2")
    experiment = open_experiment(jobs, overrides, Silent(), tmp_path)
    with pytest.raises(SettingsError, match="HT_SECRET") as error:
        preview_requests(experiment, [step])
    keys = {fault.where.split("] ")[1] for fault in error.value.faults}
    database = {"DATABASE_URL", "LABEL_QUERY"} if step == "reconcile" else set()
    assert keys == {"SERVICE"} | database
    assert SECRET not in str(error.value)


def test_a_job_that_a_build_before_has_sent_is_the_same_work(jobs: Path, tmp_path: Path) -> None:
    experiment = open_experiment(jobs, (SECRETS,), Silent(), tmp_path)
    found = plan(experiment, Job(ARGUMENTS["test"](), str(jobs), (SECRETS,)))
    before = make_bundle(jobs, text_before(jobs, (SECRETS,), {}))
    assert SECRET.encode() in before.content
    told = json.dumps(found.job.content(), indent=2)
    content = hashlib.sha256((before.digest + told).encode()).hexdigest()
    assert found.is_work_of({"content": content})
    assert found.is_work_of(found.note)
    assert found.content != content
    assert not found.is_work_of({})


# --- words of others -----------------------------------------------------------------------------


ESCAPES: tuple[Callable[[str], str], ...] = (
    str,
    quote,
    quote_plus,
    lambda secret: quote(secret, safe=""),
    repr,
    json.dumps,
    "Pwd%3D{}".format,
)


@pytest.mark.parametrize(
    "secret",
    ["hunter2", "p@ss/w:rd %&?#", "a\"b'c\\d-long", "ümläut-secret", "two\nlines-of-it", "lower"],
)
def test_a_secret_is_blotted_out_however_it_is_escaped(secret: str) -> None:
    for escape in ESCAPES:
        hidden = blotter({secret})(f"no: {escape(secret)}; or {' '.join(secret.split())}.")
        assert secret not in hidden
        assert escape(secret).strip("'\"") not in hidden
        assert hidden.startswith("no: ")


@pytest.mark.parametrize("shown_as", ["", "${HT_URL}"])
def test_no_message_of_a_database_tells_its_login_or_options(shown_as: str) -> None:
    (port,) = free_ports(1)
    place = f"127.0.0.1:{port}/zebra-database"
    url = f"postgresql://gazelle:{SECRET}@{place}?application_name=okapi-option"
    with pytest.raises(HandfulError) as error:
        list(DatabaseLabels(url, "SELECT 1", shown_as=shown_as).rows())
    said = "".join(traceback.format_exception(error.value))
    assert not [one for one in (SECRET, "gazelle", "okapi-option") if one in said]
    assert ("zebra-database" in str(error.value)) == (shown_as == "")
    assert shown_as in str(error.value)
    assert "is the server up" in str(error.value)


def test_an_error_keeps_its_kind_and_loses_its_secrets() -> None:
    hide = blotter({SECRET})
    with pytest.raises(SettingsError) as many, without_secrets(hide):
        raise SettingsError([Fault("a", f"no {SECRET}"), Fault("b", "c", SECRET)])
    assert many.value.faults == (Fault("a", "no ***"), Fault("b", "c", "***"))
    with pytest.raises(StepError) as one, without_secrets(hide):
        raise RuntimeError(f"no {SECRET}")
    assert SECRET not in "".join(traceback.format_exception(one.value))
    assert "RuntimeError: no ***" in "".join(traceback.format_exception(one.value))
    same = UserError("harmless")
    with pytest.raises(UserError) as kept, without_secrets(hide):
        raise same
    assert kept.value is same


def test_harmless_words_stay() -> None:
    hide = blotter({"cls", "true", "require", "reader", "localhost"})
    assert hide("cls true require readers proofreader localhost") == (
        "cls true require readers proofreader localhost"
    )
    assert hide("the reader left") == "the *** left"
