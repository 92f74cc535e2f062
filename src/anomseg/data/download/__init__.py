"""Fetching data sets from public addresses: resumed when interrupted, checked, unpacked without harm."""

from anomseg.data.download.fetch import fetch
from anomseg.data.download.get import Downloaded, download
from anomseg.data.download.unpack import Limits, unpack

__all__ = ["Downloaded", "Limits", "download", "fetch", "unpack"]
