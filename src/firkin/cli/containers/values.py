"""Numbers, sizes and pairs in the options of containers. Pure. `cli.containers` only.

Each error has the words of docker's: `invalid argument "x" for "--flag" flag: why`.
Mirrors: docker/cli opts, spf13/pflag, docker/go-units.
"""

from __future__ import annotations

from firkin.cli.arguments import OPTION
from firkin.errors import UsageError
from firkin.text import parse_integer, parse_size, whole_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firkin.cli.arguments import Arguments

_BILLION = 10**9
_LARGEST = (1 << 63) - 1


def wrong(message: str, *hints: str) -> UsageError:
    """Return an error about the words of the command line, which ends with docker's code for them."""
    return UsageError(message, code=OPTION, hints=hints)


def invalid(flag: str, text: str, why: str) -> UsageError:
    """Return the error about one value of an option."""
    return wrong(f'invalid argument "{text}" for "{flag}" flag: {why}')


def integer(arguments: Arguments, flag: str, default: int = 0) -> int:
    """Return the number of an option, `default` if it is not given. Raises UsageError. Mirrors: pflag's int64."""
    dest = flag.removeprefix("--").replace("-", "_")
    if not arguments.given(dest):
        return default
    text = arguments.text(dest)
    try:
        return parse_integer(text)
    except ValueError:
        raise invalid(flag, text, f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def size(arguments: Arguments, flag: str) -> int:
    """Return the bytes of an option like `64m`, 0 if it is not given. Raises UsageError."""
    text = arguments.text(flag.removeprefix("--").replace("-", "_"))
    return size_of(flag, text) if text else 0


def size_of(flag: str, text: str) -> int:
    """Return the bytes of `64m`. Raises UsageError. Mirrors: go-units RAMInBytes."""
    try:
        return parse_size(text)
    except ValueError:
        raise invalid(flag, text, f"invalid size: '{text}'") from None


def nano_cpus(flag: str, text: str) -> int:
    """Return billionths of `1.5`, `.5` or `3/2` processors. Raises UsageError. Mirrors: docker/cli opts.ParseCPUs."""
    above, slash, below = text.partition("/")
    whole, _, part = above.partition(".")
    digits, divisor = f"{whole}{part}", below if slash else "1"
    top, bottom = whole_number(digits, _LARGEST), whole_number(divisor, _LARGEST)
    if top is None or not bottom or (slash and part):
        raise invalid(flag, text, f"failed to parse {text} as a rational number")
    above_one, below_one = top * _BILLION, bottom * int("1" + "0" * len(part))
    if above_one % below_one:
        raise invalid(flag, text, "value is too precise")
    return above_one // below_one


def duration_ns(flag: str, text: str) -> int:
    """Return the nanoseconds of `1m30s`. Raises UsageError. Mirrors: time.ParseDuration."""
    from firkin.builder.dockerfile.gotext import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise invalid(flag, text, str(error)) from None


def pairs(texts: tuple[str, ...]) -> dict[str, str]:
    """Return `KEY=VALUE` texts as a mapping; a bare KEY has an empty value."""
    return {key: value for key, _, value in (text.partition("=") for text in texts)}
