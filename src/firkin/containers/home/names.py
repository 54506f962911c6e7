"""Names of containers: which are allowed, and one for a container that was given none. Does I/O."""

from __future__ import annotations

import os
from contextlib import suppress

from firkin.containers.home.home import Home
from firkin.errors import ContainerError

_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_NEXT = _FIRST | frozenset("_.-")
_LONGEST = 255
"""A name is a file's name in the store."""

_MOODS = (
    "able airy amber apt arch avid bold brave brisk bright calm candid chipper civil clear clever cosy crisp "
    "curious dapper daring deft dreamy eager early earnest easy elated epic even fair famous fancy festive fine "
    "fleet fluent fond frank free fresh gallant gentle gifted glad golden grand great hale handy happy hardy "
    "hearty honest humble ideal jaunty jolly jovial keen kind lively loyal lucid lucky mellow merry mild modest "
    "neat nifty nimble noble patient placid plucky polite prime proud quick quiet ready robust serene sharp shiny "
    "sincere sleek smart snug solid spry steady stoic sturdy subtle sunny sure swift tender tidy true upbeat "
    "vivid warm wise witty zesty "
).split()
_PEOPLE = (
    "abel ampere anning archimedes arrhenius avogadro babbage banach barton becquerel bernoulli bohr boltzmann "
    "boole borlaug bose boyle brahe cantor carson cauchy cavendish celsius chandrasekhar cori coulomb crick curie "
    "dalton darwin davy descartes dijkstra dirac edison einstein elion euclid euler faraday fermat fermi feynman "
    "fibonacci fourier franklin galilei galois gauss germain gibbs goedel goodall goppert hamilton hardy "
    "heisenberg hertz hilbert hodgkin hopper hubble huygens hypatia jackson johnson joule kelvin kepler khayyam "
    "knuth kovalevskaya lagrange lamarr landau laplace lavoisier leavitt leibniz lovelace mach maxwell mcclintock "
    "meitner mendel mendeleev mirzakhani morse napier nernst newton nightingale nobel noether ohm pascal pasteur "
    "pauli pauling payne perlman planck poincare ptolemy ramanujan riemann ritchie roentgen rubin rutherford "
    "sagan salk schroedinger shannon snow stallings stokes tesla tharp thales thompson torvalds turing venn vinci "
    "volta watt weyl wiles wright wu yalow zeno zuse "
).split()


def is_name(text: str) -> bool:
    """Say whether a text may name a container or a volume."""
    return 1 < len(text) <= _LONGEST and text[0] in _FIRST and _NEXT.issuperset(text)


def check_name(text: str) -> str:
    """Return a name that somebody asked for, without its slash; raises ContainerError (`invalid`)."""
    name = text.removeprefix("/")
    if is_name(name):
        return name
    shown = repr(text)[1:-1]
    raise ContainerError(
        f"Invalid container name ({shown}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", kind="invalid",
        code="container-name", hints=("a name has at least two characters",) if len(name) < 2 else (),
    )  # fmt: skip


def made_up(attempt: int) -> str:
    """Return a name for a container; from the second attempt on with a digit, as others may have the plain ones."""
    drawn = int.from_bytes(os.urandom(8), "big")
    drawn, mood = divmod(drawn, len(_MOODS))
    drawn, person = divmod(drawn, len(_PEOPLE))
    return f"{_MOODS[mood]}_{_PEOPLE[person]}" + (str(drawn % 10) if attempt else "")


def take(home: Home, name: str, id: str) -> None:
    """Link a name to an id; by whoever holds `all_locked`. Raises ContainerError (`conflict`)."""
    holder = home.named(name)
    if holder:
        raise taken(name, holder)
    link = f"{home.containers}/names/{name}"
    with suppress(FileNotFoundError):
        os.unlink(link)  # what a death left
    os.symlink(id, link)


def new_id() -> str:
    """Return an id for a container: 64 hex digits, the first twelve not all decimal (a host name must be no number)."""
    while True:
        id = os.urandom(32).hex()
        if not id[:12].isdigit():
            return id


def taken(name: str, id: str) -> ContainerError:
    """Return the error for a name that another container has."""
    return ContainerError(
        f'Conflict. The container name "/{name}" is already in use by container "{id}". You have to remove (or rename) '
        "that container to be able to reuse that name.", kind="conflict", code="container-name-taken",
    )  # fmt: skip
