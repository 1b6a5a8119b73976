"""What is set for this machine: flag, then environment, then file, then default.

The files are `harness.toml` in the working directory or the nearest parent that has one, then
`~/.config/harness/config.toml`; a key that both set is taken from the first. Nothing here can
change a result: what determines numbers is in the protocol.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from harness.errors import HarnessError, did_you_mean

FILE_NAME = "harness.toml"
SAMPLE_STORE = Path(__file__).parent / "samples" / "omniglot"  # a store that ships with the code
DEFAULT_MEMORY = 2**30
DEFAULT_CACHE_CAP = 32 * 2**30
LEAST_MEMORY = 2**20  # less is a number without its unit
UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
AUGMENT_ON = ("workers", "device")
LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Settings:
    """Resolved settings and where each came from.

    Attributes:
        store: Folder of the run store.
        data: Folder that holds the data sets.
        weights: Folder of downloaded weight files; None takes the cache folder of the system.
        load_plugins: Distributions or entry points to load; None loads all that are installed.
        log_level: One of `LOG_LEVELS`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        workers: Processes that decode images; None lets the run decide, 0 uses the main process.
        augment_on: One of `AUGMENT_ON`: what scales and mirrors random crops; it changes no pixel.
        backend: Evaluation backend that ranks; it changes no result.
        memory: Bytes a ranking may use above the embeddings; they change no result.
        cache: Folder of prepared pixels; None takes `.cache` in the folder of the data sets.
        cache_cap: Bytes that prepared pixels may take; above it images are prepared at each use.
        offline: Refuse every download, `--download` or not.
        sources: Setting name to where its value came from (`HARNESS_STORE`, `--store`, a file).
    """

    store: Path
    data: Path
    weights: Path | None
    load_plugins: tuple[str, ...] | None
    log_level: str
    device: str
    workers: int | None
    augment_on: str
    backend: str
    memory: int
    cache: Path | None
    cache_cap: int
    offline: bool
    sources: Mapping[str, str]


# --- one reader per sort of value: (text or TOML value, folder it is relative to) -> value ------


def _folder(value: object, base: Path) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("must be a folder")
    return base / Path(value).expanduser()


def _names(value: object, _: Path) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list):
        raise ValueError("must be plugin names, separated by commas")  # noqa: TRY004 - see _read
    return tuple(text for name in cast("list[object]", names) if (text := str(name).strip()))


def _log_level(value: object, _: Path) -> str:
    if not isinstance(value, str) or value.lower() not in LOG_LEVELS:
        raise ValueError(f"must be one of {', '.join(LOG_LEVELS)}")
    return value.lower()


def _device(value: object, _: Path) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise ValueError("must be auto, cpu, cuda or cuda:N")
    return value


def _workers(value: object, _: Path) -> int:
    text = "" if isinstance(value, bool) else str(value)
    if not re.fullmatch(r"\d{1,3}", text):
        raise ValueError("must be a whole number from 0 to 999")
    return int(text)


def _augment_on(value: object, _: Path) -> str:
    if value not in AUGMENT_ON:
        raise ValueError(f"must be one of {', '.join(AUGMENT_ON)}")
    return str(value)


def _name(value: object, _: Path) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be the name of a component")
    return value


def _size(value: object, _: Path) -> int:
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?) ?([KMG]I?B|)", str(value).upper())
    size = int(float(match[1]) * UNITS[match[2]]) if match else 0
    if size < LEAST_MEMORY:
        raise ValueError("must be a size of at least 1MiB, such as 512MiB or 4GiB")
    return size


def _switch(value: object, _: Path) -> bool:
    words = {"1": True, "true": True, "0": False, "false": False}
    if str(value).lower() not in words:
        raise ValueError("must be true or false")
    return words[str(value).lower()]


READERS: Mapping[str, Callable[[object, Path], object]] = {
    "store": _folder,
    "data": _folder,
    "weights": _folder,
    "load_plugins": _names,
    "log_level": _log_level,
    "device": _device,
    "workers": _workers,
    "augment_on": _augment_on,
    "backend": _name,
    "memory": _size,
    "cache": _folder,
    "cache_cap": _size,
    "offline": _switch,
}
DEFAULTS: Mapping[str, object] = {
    "store": Path("runs"),
    "data": Path("data"),
    "weights": None,
    "load_plugins": None,
    "log_level": "warning",
    "device": "auto",
    "workers": None,
    "augment_on": "workers",
    "backend": "torch",
    "memory": DEFAULT_MEMORY,
    "cache": None,
    "cache_cap": DEFAULT_CACHE_CAP,
    "offline": False,
}


def resolve(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Settings:
    """Return the settings in force.

    Args:
        flags: Setting name to the value of its command-line flag; None means not given.
        environ: Variables; None takes the process's own.
        cwd: Working directory; None takes the process's own.

    Raises:
        HarnessError: A value is wrong, or a file has an unknown key; names the place.
    """
    values: dict[str, Any] = dict(DEFAULTS)
    sources = dict.fromkeys(DEFAULTS, "default")
    given = _given(
        flags or {},
        os.environ if environ is None else environ,
        Path.cwd() if cwd is None else cwd,
    )
    for source, base, name, value in given:
        values[name] = _read(name, value, base=base, source=source)
        sources[name] = source
    return Settings(**values, sources=sources)


def check_online(settings: Settings, asking: str) -> None:
    """Check that the settings allow a download.

    Raises:
        HarnessError: They say offline; names the place.
    """
    if settings.offline:
        raise HarnessError(
            f"{asking} asks for the network, and the settings say offline",
            hint=f"offline comes from {settings.sources['offline']}",
        )


def cache_folder(settings: Settings) -> Path:
    """Return where prepared pixels are kept."""
    return settings.cache or settings.data / ".cache"


class _Given(NamedTuple):
    source: str
    base: Path
    name: str
    value: object


def _given(flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> Iterator[_Given]:
    """Yield every value that somebody gave, the weakest first."""
    for file in reversed(settings_files(cwd, environ=environ)):
        for name, value in _read_file(file).items():
            yield _Given(str(file), file.parent, name, value)
    for name in READERS:
        variable = f"HARNESS_{name.upper()}"
        # an empty list of plugins means none of them; elsewhere an empty variable means unset
        if variable in environ and (environ[variable] or name == "load_plugins"):
            yield _Given(variable, Path(), name, environ[variable])
    for name, value in flags.items():
        if value is not None:
            yield _Given(f"--{name.replace('_', '-')}", Path(), name, value)


def settings_files(cwd: Path, *, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the files that exist, strongest first."""
    home = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "~")) / ".config")
    near = (folder / FILE_NAME for folder in (cwd, *cwd.parents))
    local = next((file for file in near if file.is_file()), None)
    user = Path(home).expanduser() / "harness" / "config.toml"
    return tuple(file for file in (local, user) if file is not None and file.is_file())


def _read_file(file: Path) -> dict[str, Any]:
    import tomllib

    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise HarnessError(f"{file}: {error}") from error
    for name in content:
        if name not in READERS:
            near = did_you_mean(name, READERS) or f"keys are {', '.join(READERS)}"
            raise HarnessError(f"{file}: unknown key {name!r}", hint=near)
    return content


def _read(name: str, value: object, *, base: Path, source: str) -> object:
    try:
        return READERS[name](value, base)
    except ValueError as error:
        raise HarnessError(f"{source}: {name} {error}, not {value!r}") from error
