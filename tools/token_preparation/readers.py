"""Documents of each format, one after the other: strings, or lists of token ids."""

import csv
import itertools
import json
import os
import pathlib
import re

from .formats import READING_ERRORS, Found, look
from .speech import Failure, names_of, need, quote, reason, valid

CHUNK_CHARACTERS = 1 << 20
MOST_CHARACTERS_A_VALUE = 1 << 28  # of JSON and of CSV; what is longer is a file whose quotation marks or brackets do not close
ROWS_A_BATCH = 1024  # of parquet: a bound for the memory that long texts take
csv.field_size_limit(MOST_CHARACTERS_A_VALUE)


def documents_of(found, options, most=None):
    """Of any file. Where `most` is given, no more characters are needed of one document."""
    if found.format == "text":
        return text_documents(found, options.documents, most)
    if found.format == "parquet":
        return parquet_rows(found.path, options.text_column)
    rows = {"jsonl": json_rows, "json": json_rows, "csv": table_rows, "tsv": table_rows}[found.format]
    return guarded(found, rows(found, options.text_column))


def guarded(found, rows):
    """The same rows; what goes wrong in reading the bytes of the file is a sentence."""
    try:
        yield from rows
    except UnicodeDecodeError as error:
        expected = {"utf-16": "UTF-16", "utf-32": "UTF-32"}.get(found.encoding, "UTF-8")
        bad = error.object[error.start:error.start + 4]
        raise Failure(f"{found.path}: expected {expected} text, found the bytes {bad.hex(' ')}{place_of_bad_bytes(found)}; if it is text in another "
                      "encoding, convert it, for example with iconv -f ISO-8859-1 -t UTF-8") from None
    except READING_ERRORS as error:
        if not found.layers:
            raise
        raise Failure(f"{found.path}: expected a whole {found.layers[0]} file, found a damaged one or the beginning of one: "
                      f"{reason(error)}") from None


def place_of_bad_bytes(found):
    if found.encoding not in ("utf-8", "utf-8-sig") or found.pipe is not None:
        return ""
    with found.open() as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return f" in line {number}"
    return ""


# ---- Text ----


def text_documents(file, kind, most=None):
    """Of a text file: each line that is not blank, with its line feed, or the whole file. Line ends are line feeds, however the file has them."""
    found = file if isinstance(file, Found) else look(file)
    return guarded(found, whole_text(found, most) if kind == "file" else lines_of(found, most))


def whole_text(found, most):
    with found.open_text(newline="\n") as file:
        yield file.read(most).replace("\r\n", "\n")


def lines_of(found, most):
    with found.open_text(newline="\n") as file:
        for line in file if most is None else iter(lambda: beginning_of_line(file, most), ""):
            if line.strip():
                yield line[:-2] + "\n" if line.endswith("\r\n") else line


def beginning_of_line(file, most):
    line = part = file.readline(most)
    while len(part) == most and not part.endswith("\n"):
        part = file.readline(most)
    return line


# ---- JSON, CSV, TSV ----


def json_rows(found, field):
    for line, value in values_by_line(found) if found.format == "jsonl" else values_by_bracket(found):
        is_list = isinstance(value, list) and not is_ids(value)
        for row in value if is_list else (value,):
            if isinstance(row, dict):
                if field not in row:
                    raise Failure(f"{found.path}, line {line}: expected a field '{field}', found {names_of(row)}; name the one that holds the text "
                                  "with --text-column")
                row = row[field]
            elif not isinstance(row, str):
                raise Failure(f"{found.path}, line {line}: expected an object with a field '{field}', found {name_of(row)}")
            yield from texts_of((row,), f"{found.path}, line {line}", field)


def values_by_line(found):
    with found.open_text(newline="\n") as file:
        for number, line in enumerate(file, 1):
            if line.isspace():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise Failure(f"{found.path}, line {number}: expected a JSON value, found {quote(line.strip())}: {json_reason(error)}") from None
            yield number, value


SPACE = re.compile(r"\s*")
SPACE_AND_COMMAS = re.compile(r"[\s,]*")


def json_reason(error):
    return getattr(error, "msg", reason(error))


def values_by_bracket(found):
    """Values that follow each other, or the elements of a list, with the lines where they begin; never the whole file at once."""
    decode = json.JSONDecoder().raw_decode
    text, at, line, within_list, last_problem = "", 0, 1, False, None
    with found.open_text(newline=None) as file:
        while True:
            begin, at = at, (SPACE_AND_COMMAS if within_list else SPACE).match(text, at).end()
            line += text.count("\n", begin, at)
            if at == len(text):
                text, at = file.read(CHUNK_CHARACTERS), 0
                if not text:
                    break
                continue
            if text[at] == ("]" if within_list else "["):
                within_list, at = not within_list, at + 1
                continue
            error = None
            try:
                value, end = decode(text, at)
            except (ValueError, RecursionError) as caught:
                error, end = caught, len(text)
            if end == len(text):  # the value may go on
                # The same error again, with more text behind it, is an error indeed; only a string may be long.
                problem = error and (json_reason(error), getattr(error, "pos", at) - at)
                certain = error and problem == last_problem and not json_reason(error).startswith("Unterminated string")
                rest = len(text) - at
                more = "" if certain or rest > MOST_CHARACTERS_A_VALUE else file.read(max(CHUNK_CHARACTERS, rest))
                if more:
                    text, at, last_problem = text[at:] + more, 0, problem
                    continue
                if error:
                    raise Failure(f"{found.path}, line {line}: expected a JSON value, found {quote(text[at:at + 200].splitlines()[0])}: "
                                  f"{json_reason(error)}")
            yield line, value
            line += text.count("\n", at, end)
            at, last_problem = end, None
    if within_list:
        raise Failure(f"{found.path}: expected a whole JSON list, found one that does not end; the file was cut short")


def table_rows(found, column):
    with found.open_text(newline="") as file:
        first = file.readline()
        delimiters = "\t," if found.format == "tsv" else ",;\t|"
        try:
            heads = {delimiter: [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])] for delimiter in delimiters}
            delimiter = next((d for d in delimiters if column in heads[d]), max(delimiters, key=lambda d: len(heads[d])))
            rows = csv.reader(itertools.chain([first], file), delimiter=delimiter, strict=True)
            names = [name.strip() for name in next(rows, [])]
            if names and column not in names:
                raise Failure(f"{found.path}: expected a first line with the names of the columns and '{column}' among them, found "
                              f"{names_of(names)}; name the column that holds the text with --text-column")
            for row in rows:
                if row and len(row) != len(names):
                    raise Failure(f"{found.path}, line {rows.line_num}: expected {len(names)} fields, as in the first line, found {len(row)}")
                if row:
                    yield from texts_of((row[names.index(column)].replace("\r\n", "\n"),), found.path, column)
        except csv.Error as error:
            raise Failure(f"{found.path}, line {rows.line_num}: expected fields, of which those with quotation marks are in quotation marks "
                          f"themselves, found others: {reason(error)}; write the texts as JSON lines") from None


# ---- Parquet and data sets ----


def parquet_rows(path, column):
    parquet = need("pyarrow.parquet", "reading parquet")
    with open(path, "rb") as stream:
        file = parquet_file(parquet, stream, path, column)
        batches = file.iter_batches(columns=[column], batch_size=ROWS_A_BATCH)
        while True:
            try:
                batch = next(batches, None)
                values = batch and batch.column(0).to_pylist()
            except Exception as error:
                raise Failure(f"{path}: expected a whole parquet file, found one that pyarrow cannot read on: {reason(error)}") from None
            if batch is None:
                return
            yield from texts_of(values, path, column)


def parquet_file(parquet, stream, path, column):
    try:
        file = parquet.ParquetFile(stream)
    except Exception as error:
        raise Failure(f"{path}: expected a parquet file, found one that pyarrow cannot read: {reason(error)}") from None
    schema = file.schema_arrow
    if column not in schema.names:
        raise Failure(f"{path}: expected a column '{column}', found {names_of(schema.names)}; give one of them with --text-column")
    kind = schema.field(column).type
    inner = str(getattr(kind, "value_type", None) or "")
    of_ids = re.fullmatch(r"(large_|fixed_size_)?list(_view)?<.*", str(kind)) and re.fullmatch(r"u?int(8|16|32|64)", inner)
    of_text = re.search(r"string|binary|null", str(kind) + inner) and not re.match(r"(large_|fixed_size_)?list|struct|map", str(kind))
    if not of_ids and not of_text:
        raise Failure(f"{path}: expected text or lists of token ids in column '{column}', found {kind}; give another with --text-column")
    return file


def dataset_rows(name, configuration, split, column):
    datasets = need("datasets", f"reading the data set {name}")
    try:
        if os.path.isdir(name) and is_saved_data_set(pathlib.Path(name)):
            data = datasets.load_from_disk(name)
            data = data[split] if isinstance(data, dict) else data
        else:
            data = datasets.load_dataset(name, configuration, split=split, streaming=True)
        data = data.with_format(None)  # strings and numbers, whatever arrays it was saved to give
    except Exception as error:
        raise Failure(f"{name}: expected a data set with a split '{split}' (--split, --dataset-config), found one that datasets cannot load: "
                      f"{reason(error)}") from None
    rows = iter(data)
    while True:
        try:
            row = next(rows, None)
        except Exception as error:
            raise Failure(f"{name}: expected more rows of the data set, found that datasets cannot read on: {reason(error)}") from None
        if row is None:
            return
        if column not in row:
            raise Failure(f"{name}: expected a column '{column}', found {names_of(row)}; give one of them with --text-column")
        yield from texts_of([row[column]], name, column)


def is_saved_data_set(directory):
    return any(os.path.exists(directory / file) for file in ("state.json", "dataset_dict.json"))


# ---- What a value is ----


def is_ids(value):
    return isinstance(value, list) and bool(value) and all(type(one) is int for one in value)


def name_of(value):
    kinds = {dict: "an object", bool: "true or false", type(None): "null"}
    inner = f" of {type(value[0]).__name__}" if isinstance(value, list) and value else ""
    return kinds.get(type(value), f"{type(value).__name__}{inner}")


def texts_of(values, source, column):
    for value in values:
        if value is None or value == "" or value == []:
            continue
        if isinstance(value, bytes):  # text that was stored without saying that it is text
            try:
                value = value.decode()
            except UnicodeDecodeError:
                raise Failure(f"{source}: expected text in '{column}', found bytes that are no UTF-8") from None
        if isinstance(value, str):
            yield valid(value)
        elif is_ids(value):
            yield value
        else:
            raise Failure(f"{source}: expected text or a list of token ids in '{column}', found {name_of(value)}")
