"""Where an archive of a data set is to be had, and what it should be."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Archive:
    """An archive at a public address.

    Attributes:
        url: Its address.
        into: The folder below the data set's that its content goes to. Where the archive itself begins with a folder
            of that name, there are not two of them.
        md5: Its checksum, 32 hexadecimal digits; empty where none is published.
        layout: The layout that it belongs to, of a set that comes in several versions; empty for all of them.
    """

    url: str
    into: str
    md5: str = ""
    layout: str = ""

    @property
    def name(self) -> str:
        """Its file name.

        Example:
            >>> Archive("https://example.org/files/a.tar.gz?download=1", "a").name
            'a.tar.gz'
        """
        return urlsplit(self.url).path.rpartition("/")[2]
