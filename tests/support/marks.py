"""Parameters with markers for what they need."""

import pytest

ROOT_AND_USER = [
    pytest.param("root", marks=pytest.mark.root),
    pytest.param("user", marks=pytest.mark.userns),
]
