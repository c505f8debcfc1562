"""Which files the inputs mean, and where documents come from."""

import dataclasses
import fnmatch
import os
import pathlib
import re
import stat

from .formats import ENDINGS, READABLE, ending_of, is_compressed, look
from .readers import dataset_rows, documents_of, is_saved_data_set, parquet_file
from .speech import Failure, names_of, need, say
from .staging_directory import status

MAGIC = re.compile(r"[*?[]")
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Source:
    """Where some of the documents are: a file, or a data set's name."""
    options: object
    found: object = None
    data_set: str = ""

    def documents(self, most=None):
        """All of them, from the start."""
        if self.found is None:
            options = self.options
            return dataset_rows(self.data_set, options.dataset_config, options.split, options.text_column)
        return documents_of(self.found, self.options, most)

    def check(self):
        """What would be refused after hours of other files is refused at once."""
        found = self.found
        if self.data_set:
            need("datasets", f"reading {self.data_set}, no file here and so taken for a data set,")
        if found is None or found.empty or found.pipe is not None or found.format == "text":
            return
        if found.format == "parquet":
            parquet = need("pyarrow.parquet", "reading parquet")
            with open(found.path, "rb") as stream:
                parquet_file(parquet, stream, found.path, self.options.text_column)
        else:
            next(self.documents(), None)


def sources_of(options):
    """In the order of the inputs."""
    named = [(name, files_of(name, options.format)) for given in options.input for name in expand(given)]
    files = [file for _, found in named for file in found or []]
    say_what_repeats(files)
    if len(files) > 1000:
        say(f"looking at {len(files)} files")
    sources = []
    for name, found in named:
        if found is None:
            what = "a directory that datasets saved" if os.path.isdir(name) else "no file here, so taken for the name of a data set"
            say(f"{name}: {what}; its split {options.split} comes through the Python package datasets")
            sources.append(Source(options, data_set=name))
        sources += [Source(options, look(file, options.format)) for file in found or []]
    check_pipes([source.found for source in sources if source.found and source.found.pipe], options)
    say_what_they_are([source.found for source in sources if source.found], options)
    return sources


# ---- Names ----


def expand(pattern):
    """The names that a pattern matches, which the shell was kept from expanding. What exists literally is meant literally, part by part."""
    if not MAGIC.search(pattern) or is_there(pattern):
        return [pattern]
    places = [""]
    for part in pathlib.PurePath(pattern).parts:
        found = []
        for place in places:
            if is_there(os.path.join(place, part)):
                found.append(os.path.join(place, part))
            elif MAGIC.search(part) and os.path.isdir(place or "."):
                found += [os.path.join(place, name) for name in sorted(names_in(place or "."))
                          if fnmatch.fnmatchcase(name, part) and (not name.startswith(".") or part.startswith("."))]
        places = found
    if not places:
        raise Failure(f"{pattern}: expected a pattern that matches files, found none that it matches")
    return places


def is_there(name):
    try:
        return status(name) is not None
    except PermissionError as error:
        raise Failure(f"{name}: expected a file, found a directory on the way to it that may not be read ({error.strerror}): change its "
                      "permissions, or give another") from None


def names_in(directory):
    try:
        return os.listdir(directory)
    except PermissionError as error:
        raise Failure(f"{directory}: expected a directory of files, found one that may not be read ({error.strerror}): change its permissions, or "
                      "give another") from None


def files_of(name, taken_as):
    """The files that a name without a pattern means; None for the name of a data set."""
    path = pathlib.Path(name)
    if not is_there(name):
        if ending_of(path) in ENDINGS or is_compressed(path) or not HUB_NAME.fullmatch(name):
            raise Failure(f"{name}: expected a file, found nothing of that name"
                          + ("; download it first" if re.match(r"\w+://", name) else ""))
        return None
    if not path.is_dir():
        return [path]
    names = names_in(path)
    return None if is_saved_data_set(path) else files_in(path, names, taken_as)


# ---- Directories ----


def files_in(directory, names, taken_as):
    """Those that hold documents: .txt and .parquet files where there are any, or else the files of the one kind that is there. What begins with a
    dot belongs to the system."""
    names = {name for name in names if not name.startswith(".")}
    visible = [directory / name for name in sorted(names)]
    kinds = {path: ENDINGS[ending_of(path)] for path in visible if ending_of(path) in ENDINGS and path.is_file()}
    taken = [path for path, kind in kinds.items() if taken_as in (None, kind) and not (is_compressed(path) and path.stem in names)]
    if taken_as is None:
        first = [path for path in taken if path.suffix.lower() in (".txt", ".parquet")]
        no_json = [path for path in taken if kinds[path] != "json"]  # which beside others describes them
        taken = first or no_json or taken
        if not first and len({kinds[path] for path in taken}) > 1:
            raise Failure(f"{directory}: expected a directory of files of one kind, found {names_of(path.name for path in taken)}; name those that "
                          "are meant, or the kind with --format")
    if not taken:
        refuse_directory(directory, visible)
    passed_over = [path.name for path in kinds if path not in taken]
    if passed_over:
        say(f"note: {directory}: read: {names_of(path.name for path in taken)}; passed over: {names_of(passed_over)}")
    return taken


def refuse_directory(directory, visible):
    found = "none of them"
    if any(path.suffix in (".bin", ".npy") for path in visible):
        found += ", but token files (.bin, .npy), which need no preparing: name the directory as path in data.train"
    elif any(path.is_dir() for path in visible):
        found += f", but directories: name one of {names_of(path.name for path in visible if path.is_dir())}"
    elif visible:
        found += f", but {names_of(path.name for path in visible)}: name the files that are meant"
    raise Failure(f"{directory}: expected a directory of .txt, .parquet, .jsonl, .json, .csv or .tsv files, or a data set that datasets saved, "
                  f"found {found}")


# ---- What is said of them ----


def say_what_repeats(files):
    seen = {}
    for path in files:
        found = os.stat(path)
        other = seen.setdefault((found.st_dev, found.st_ino), path)
        if other is not path and stat.S_ISREG(found.st_mode):
            say(f"note: {path} is the same file as {other}; its documents are read twice")


def check_pipes(pipes, options):
    for found in pipes:
        if options.vocab_size is not None:
            found.pipe.close()
            raise Failure(f"{found.path}: expected a file, which can be read twice, once to train a tokenizer and once to encode; found a pipe: "
                          "write it to a file first, or give --tokenizer")
        if found.format == "parquet":
            raise Failure(f"{found.path}: expected a file, found parquet in a pipe: write it to a file first")


def say_what_they_are(all_found, options):
    counts = {}
    for found in all_found:
        words = READABLE[found.format]
        if found.format != "text":
            words += f" ('{options.text_column}')"
        if found.encoding in ("utf-16", "utf-32"):
            words += f" in {found.encoding.upper()}"
        if found.layers:
            words += f", decompressed ({', '.join(found.layers)})"
        counts[words] = counts.get(words, 0) + 1
    if set(counts) - {"text"}:
        say("reading " + "; ".join(f"{count} file{'s' if count > 1 else ''} of {words}" for words, count in counts.items()))
