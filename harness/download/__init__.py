"""Files from the network: whole and as their publisher promised, or not there.

Only what a user asked for comes here: `harness data fetch`, `harness weights fetch`, `--download`.
"""

from harness.download.fetching import download, held, partial_path
from harness.download.promises import Promise, file_digest, size_text
from harness.download.transfer import Patience, ReportProgress

__all__ = [
    "Patience",
    "Promise",
    "ReportProgress",
    "download",
    "file_digest",
    "held",
    "partial_path",
    "size_text",
]
