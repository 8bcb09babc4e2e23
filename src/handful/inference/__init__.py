"""predict: documents that nobody has labelled yet, classified by a trained model.

    PATH… → places → documents (process_func, encode_data, in worker processes) → scores → lines

`places` walks folders and prefixes, `staging` takes the files of a window of documents to private
copies, `works` runs the user's functions in workers, `reading` puts these together, `classifier`
is what Python sees, and `lines` is the JSONL file that a killed run goes on with.
"""
