"""The few loops in C, and how Python finds them.

Each `NAME.c` here becomes `libNAME.so` beside it when the package is built (`hatch_build.py`),
where there is a C compiler. No result depends on that: each caller has a slower way to the same
numbers.

    resampling.c    boxes of images -> squares      called by harness.data.resampling
    scanning.c      blocks of scores -> candidates  called by harness.evaluation.scanning
"""

from __future__ import annotations

import ctypes
import logging
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent


@cache
def library(name: str) -> ctypes.CDLL | None:
    """Return the compiled `NAME.c`; None where it could not be compiled, or fits no longer."""
    try:
        return ctypes.CDLL(str(FOLDER / f"lib{name}.so"))
    except OSError as error:
        logger.info("without compiled code: %s", error)
        return None
