"""The folder of systems: one sub-folder with a `defs.yaml` each; the sub-folder's name is the system's name.

One loader for the command line and the Dagster code location. Every problem is a ConfigurationError with the file, the
line and carets under the offending key or value.
"""

import difflib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

import credit_pipeline
from credit_pipeline.config.attributes import (
    COMPONENT_TYPES,
    SystemAttributes,
    contradictions,
    credit_system,
)
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.config.values import NAME, listed
from credit_pipeline.config.yaml_text import Loc, YamlText, read_yaml, scalars
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.domain.plans.catalogue import normalise

FOLDER_ENV = "CREDIT_PIPELINE_DEFS"
FILE = "defs.yaml"
PLANS: Loc = ("attributes", "plans")
PACKAGED = Path(credit_pipeline.__file__).parent / "defs"


def load_systems(folder: Path | None = None, environ: Mapping[str, str] | None = None) -> list[CreditSystem]:
    """All systems of the folder in effect, by name: `folder`, else $CREDIT_PIPELINE_DEFS, else the packaged ones."""
    return [load_file(path) for path in _files(folder_in_effect(folder, environ)).values()]


def load_system(name: str, folder: Path | None = None, environ: Mapping[str, str] | None = None) -> CreditSystem:
    """The system of that name; the others' files are not read, so their faults do not matter here."""
    files = _files(folder_in_effect(folder, environ))
    if name not in files:
        raise ConfigurationError(f"no system is called `{name}`: the systems are {listed(files)}")
    return load_file(files[name])


def folder_in_effect(folder: Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """Where systems are read from."""
    if folder is not None:
        return folder
    named = (os.environ if environ is None else environ).get(FOLDER_ENV)
    return Path(named) if named else PACKAGED


def load_file(path: Path, also: Collection[str] = ()) -> CreditSystem:
    """The system of one `defs.yaml`, named after its folder; `also` are further keys the file's top may have."""
    name = system_name(path)
    source = read_yaml(path)
    attributes = _attributes(source, also)
    try:
        given = SystemAttributes.model_validate(attributes, by_alias=True, by_name=False)
        for place, sentence in contradictions(given):
            raise source.error(("attributes", *place), sentence, on_key=place[0] == "policy")
    except ValidationError as error:
        raise _first(error, source) from None
    try:
        return credit_system(name, given)
    except ConfigurationError as error:
        loc = _place_of(str(error), attributes)
        raise source.error(loc, str(error), on_key=len(loc) == len(PLANS)) from None


def system_name(path: Path) -> str:
    """The name of the folder `path` is in (or is); the asset keys, the job and the log lines carry it."""
    folder = path.parent if path.suffix in {".yaml", ".yml"} else path
    name = folder.resolve().name
    if not NAME.fullmatch(name):
        raise ConfigurationError(
            f"{path}: the folder's name `{name}` is the system's name, and must be lower-case letters, digits and `_`, "
            "starting with a letter, at most 41 long: rename the folder"
        )
    return name


def _files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise ConfigurationError(f"the systems' folder {folder} does not exist: set {FOLDER_ENV} to the right one")
    found: dict[str, Path] = {}
    for child in sorted(folder.iterdir()):
        if (child / FILE).is_file():
            found[child.name] = child / FILE
        elif (child / "defs.yml").is_file():
            raise ConfigurationError(f"{child / 'defs.yml'} is not read: rename it to {FILE}")
    if not found:
        raise ConfigurationError(
            f"the systems' folder {folder} has no sub-folder with a {FILE}: add one, or set {FOLDER_ENV}"
        )
    return found


def _attributes(source: YamlText, also: Collection[str]) -> dict[str, Any]:
    data = source.data
    if not isinstance(data, dict):
        raise source.error((), f"the file must hold `type: {COMPONENT_TYPES[0]}` and `attributes:`: write them")
    for key in data:
        if key not in {"type", "attributes", *also}:
            hint = _near(key, ("type", "attributes"))
            raise source.error(
                (key,), f"`{key}` is not a key of this file{hint}: it has `type` and `attributes`", on_key=True
            )
    if data.get("type") not in COMPONENT_TYPES:
        raise source.error(
            ("type",), f"`type` must be `{COMPONENT_TYPES[0]}`: this folder holds systems and nothing else"
        )
    attributes = data.get("attributes")
    if not isinstance(attributes, dict):
        raise source.error(
            ("attributes",), "`attributes` must hold the system's keys: add at least plans, billing and store"
        )
    return attributes


def _first(error: ValidationError, source: YamlText) -> ConfigurationError:
    # A misspelt key also makes the right one missing; the misspelling is what the reader must see.
    def order(found: tuple[Loc, ErrorDetails]) -> tuple[bool, int, int]:
        loc = ("attributes", *found[0])
        place = source.values.get(loc) or source.keys.get(loc)
        return (found[1]["type"] != "extra_forbidden", place.line if place else 10**6, place.start if place else 0)

    every = [(_place(one), one) for one in error.errors(include_url=False, include_input=False)]
    # A list with one wrong value is called too short as well.
    deepest = [
        (place, one) for place, one in every if not any(place == other[: len(place)] != other for other, _ in every)
    ]
    place, found = min(deepest, key=order)
    loc: Loc = ("attributes", *place)
    on_key = found["type"] == "extra_forbidden" or loc[-1] == "[key]"
    if loc[-1] == "[key]":
        loc = loc[:-1]
    if found["type"] in _MISSING:
        return source.error(loc[:-1], f"{_sentence(place, found)}: add it", on_key=True)
    return source.error(loc, _sentence(place, found), on_key=on_key)


_MISSING = frozenset({"missing", "union_tag_not_found"})


def _place(found: ErrorDetails) -> Loc:
    """The error's place in the file: a key that decides which others there are (`layout`) is named by pydantic as one
    more step, or not at all where it is itself at fault."""
    loc, _ = _walk(found["loc"])
    if found["type"].startswith("union_tag"):
        return (*loc, str(found["ctx"]["discriminator"]).strip("'"))
    return loc


def _sentence(loc: Loc, found: ErrorDetails) -> str:
    kind, facts = found["type"], found.get("ctx", {})
    where, key = _dotted(loc), str(loc[-1])
    match kind:
        case "extra_forbidden":
            known = _keys_at(found["loc"][:-1])
            return f"`{key}` is not a key of {_section(loc[:-1])}{_near(key, known) or f': it has {listed(known)}'}"
        case "missing" | "union_tag_not_found":
            return f"{_section(loc[:-1])} has no `{key}`"
        case "sentence":
            return f"{where}: {facts['text']}"
        case "enum" | "literal_error" | "union_tag_invalid":
            words = re.findall(r"'([^']*)'", str(facts.get("expected", facts.get("expected_tags"))))
            return f"{where} is none of the words it may be: write {' or '.join(f'`{word}`' for word in words)}"
        case "greater_than_equal" | "less_than_equal":
            bound = f"at least {facts['ge']}" if "ge" in facts else f"at most {facts['le']}"
            return f"{where} is out of range: it must be {bound}"
        case "too_short" | "string_too_short" | "string_too_long":
            size = facts.get("min_length", facts.get("max_length"))
            return f"{where} must hold at {'most' if kind.endswith('long') else 'least'} {size}: change it"
    return f"{where} is of the wrong kind: it must be {_KINDS.get(kind, 'another kind of value')}"


_KINDS = {
    "int_type": "a whole number without quotes",
    "float_type": "a number without quotes",
    "bool_type": "`true` or `false`",
    "string_type": "text (put quotes around it)",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
}


def _dotted(loc: Loc) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc if part != "[key]")
    return f"`{text.lstrip('.')}`"


def _section(loc: Loc) -> str:
    return _dotted(loc) if loc else "`attributes`"


def _keys_at(loc: Loc) -> list[str]:
    """The keys the schema knows where pydantic says `loc`."""
    _, model = _walk(loc)
    return [field.alias or name for name, field in model.model_fields.items()]


def _walk(loc: Loc) -> tuple[Loc, type[BaseModel]]:
    """Pydantic's place without the tags of its unions, and the section of the schema that it leads to."""
    kept: list[str | int] = []
    model: type[BaseModel] = SystemAttributes
    tagged: dict[Any, type[BaseModel]] = {}
    for part in loc:
        if part in tagged:
            model, tagged = tagged[part], {}
            continue
        kept.append(part)
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        if isinstance(part, str) and part in fields:
            inner = list(_models_in(fields[part].annotation))
            model, tagged = next(iter(inner), model), _tags(inner, fields[part].discriminator)
    return tuple(kept), model


def _tags(models: list[type[BaseModel]], discriminator: Any) -> dict[Any, type[BaseModel]]:
    """The word that chooses each of a union's models."""
    if not isinstance(discriminator, str):
        return {}
    return {tag: model for model in models for tag in get_args(model.model_fields[discriminator].annotation)}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _near(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f": did you mean `{close[0]}`?" if close else ""


def _place_of(sentence: str, attributes: dict[str, Any]) -> Loc:
    """Where the first word a sentence quotes stands last: a collision is at its second place."""
    quoted = re.search(r"`([^`]+)`", sentence)
    if not quoted:
        return PLANS
    words = {quoted[1], normalise(quoted[1])}
    for section in ("aliases", "plans"):
        places = [
            loc
            for loc, value in scalars(attributes.get(section), (section,))
            if isinstance(value, str) and {value, normalise(value)} & words
        ]
        if places:
            return ("attributes", *places[-1])
    return PLANS
