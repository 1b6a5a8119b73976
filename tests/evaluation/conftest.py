"""What tests of evaluation share."""

import pytest

from harness.evaluation import scanning


@pytest.fixture(params=["compiled", "numpy"])
def each_scan(request, monkeypatch):
    """Scan scores with the compiled loops, then without them."""
    if request.param == "numpy":
        monkeypatch.setattr(scanning, "compiled", lambda: None)
    elif scanning.compiled() is None:
        pytest.skip("no compiled loops here; see harness doctor")
