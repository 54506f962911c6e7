"""One machine for all tests of this directory. It boots when the first of them asks for it."""

from collections.abc import Iterator

import pytest

from vm.machine import Machine, remove_place, start_machine, temporary_place


@pytest.fixture(scope="session")
def vm() -> Iterator[Machine]:
    """A booted machine, with the users root, dev and other."""
    place = temporary_place()
    try:
        machine = start_machine(place)
        print(f"booted in {machine.boot_seconds:.0f} s with {machine.accelerator}")
        try:
            yield machine
        finally:
            machine.close()
    finally:
        remove_place(place)


@pytest.fixture(params=["root", "dev"])
def user(request: pytest.FixtureRequest) -> str:
    """Who does it."""
    return str(request.param)
