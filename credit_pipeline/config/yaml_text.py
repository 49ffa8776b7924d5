"""A YAML file as plain data that remembers where each key and value stands, so that errors can point at it.

Narrower than YAML: one document, no anchors, aliases, merge keys or tags, text keys, each key once. What the keys
mean is `system_schema.py`'s business.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from credit_pipeline.domain.errors import ConfigurationError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 12

SECRETS = re.compile(
    r"""postgres(?:ql)?(?:\+\w+)?://\S+            # a database URL, with or without its password
      | [a-z][a-z0-9+.-]*://[^\s/:@]*:[^\s@]+@\S*  # any URL with a password in it
      | \bpassword\s*[=:]\s*\S+
      | \b(?:[sr]k_(?:live|test)|whsec)_\w+        # Stripe keys
      | \beyJ[\w-]{10,}\.[\w.-]+ | \bOauthNG\.\S+ | \bIST\.\S{20,}   # tokens
      | -----BEGIN[ \w]*-----.*
      | \{\{.*?\}\}                                # a template that would inline the value
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""What must stand in the environment and never in a file. Masked wherever a line of the file is shown."""

Loc = tuple[str | int, ...]

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9_]{0,24})")


@dataclass(frozen=True, slots=True)
class Place:
    """A span on one line, counted from 0."""

    line: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class YamlText:
    """The parsed file; `keys` and `values` say where each path of the data stands."""

    path: Path
    lines: tuple[str, ...]
    data: Any = None
    keys: dict[Loc, Place] = field(default_factory=dict)
    values: dict[Loc, Place] = field(default_factory=dict)

    def error(self, loc: Loc, sentence: str, *, on_key: bool = False) -> ConfigurationError:
        """`sentence` with the file, the line, and carets under the key or value at `loc` (else its nearest parent)."""
        first, second = (self.keys, self.values) if on_key else (self.values, self.keys)
        place = first.get(loc) or second.get(loc)
        while place is None and loc:
            loc = loc[:-1]
            place = self.keys.get(loc) or self.values.get(loc)
        return self.error_at(place or Place(0, 0, 1), sentence)

    def error_at(self, place: Place, sentence: str) -> ConfigurationError:
        """The same for a place; anything on the shown line that looks like a secret is starred out."""
        line = self.lines[place.line] if place.line < len(self.lines) else ""
        shown = SECRETS.sub(lambda found: "*" * len(found[0]), line)[:160]
        width = max(1, min(place.end, len(shown)) - place.start)
        caret = " " * min(place.start, len(shown)) + "^" * width
        return ConfigurationError(f"{self.path}, line {place.line + 1}: {sentence}\n    {shown}\n    {caret}")


def read_yaml(path: Path) -> YamlText:
    """The file's data with its places. Raises ConfigurationError with file and line where it cannot be read."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror}): check its path and permissions") from None
    if len(raw) > MAX_BYTES:
        raise ConfigurationError(f"{path} has {len(raw):,} bytes, more than {MAX_BYTES:,}: split it into systems")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8 text: save it as UTF-8") from None
    source = YamlText(path=path, lines=tuple(text.splitlines()))
    try:
        _refuse_anchors(text, source)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = (error.problem or error.context or "it cannot be parsed").split("\n")[0]
        raise source.error_at(_point(mark), f"this is no valid YAML ({problem}): correct the line") from None
    except yaml.YAMLError:
        raise ConfigurationError(f"{path} holds characters that YAML does not allow: remove them") from None
    data = None if node is None else _value(node, (), source)
    return YamlText(path=path, lines=source.lines, data=data, keys=source.keys, values=source.values)


def scalars(data: Any, loc: Loc = ()) -> Iterator[tuple[Loc, Any]]:
    """Every scalar below `data`, with its path, in the order of the file."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from scalars(value, (*loc, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from scalars(value, (*loc, index))
    else:
        yield loc, data


def _refuse_anchors(text: str, source: YamlText) -> None:
    # From the event stream, before a node exists: a few lines of aliases can stand for 10^8 nodes.
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise source.error_at(_point(event.start_mark), "anchors and aliases are not accepted: write the value out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise source.error_at(_point(event.start_mark), f"the file is nested deeper than {MAX_DEPTH}: flatten it")


def _value(node: yaml.Node, loc: Loc, source: YamlText) -> Any:
    source.values[loc] = _span(node, source)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, loc, source)
    if isinstance(node, yaml.SequenceNode):
        return [_value(child, (*loc, index), source) for index, child in enumerate(node.value)]
    text = str(node.value)
    match node.tag.removeprefix("tag:yaml.org,2002:"):
        case "str":
            return text
        case "null":
            return None
        case "bool":
            return text.lower() in {"true", "yes", "on"}
        case "int" if _NUMBER.fullmatch(text):  # not 0100, which YAML reads as 64, nor 1:30, which it reads as 90
            return int(text)
        case "float" if re.fullmatch(r"-?[0-9_]+\.[0-9_]*(e[-+][0-9]+)?", text, re.IGNORECASE):
            return float(text)
    raise source.error(loc, "YAML would not read this as it is written: put quotes around it, or write a plain number")


def _mapping(node: yaml.MappingNode, loc: Loc, source: YamlText) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        place = _span(key_node, source)
        if key_node.tag != "tag:yaml.org,2002:str":
            raise source.error_at(place, "a key must be text: put quotes around it")
        key = str(key_node.value)
        if key in result:
            raise source.error_at(place, f"`{key}` stands here twice: keep one of them")
        source.keys[(*loc, key)] = place
        result[key] = _value(value_node, (*loc, key), source)
    return result


def _span(node: yaml.Node, source: YamlText) -> Place:
    start, end = node.start_mark, node.end_mark
    last = end.column if end.line == start.line else len(source.lines[start.line].rstrip())
    return Place(start.line, start.column, max(last, start.column + 1))


def _point(mark: Any) -> Place:
    return Place(mark.line, mark.column, mark.column + 1) if mark else Place(0, 0, 1)
