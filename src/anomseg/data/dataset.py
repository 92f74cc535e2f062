"""Data sets as declarations: everything there is to know before their files are seen."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anomseg.data.archive import Archive
from anomseg.data.classified import Collect
from anomseg.data.label_mapping import LabelSpace
from anomseg.data.labels import ValueTable, parse_value_table
from anomseg.data.layout import Layout
from anomseg.errors import ConfigError, DataError, unknown_name
from anomseg.types import VOID


@dataclass(frozen=True)
class Split:
    """A part of a data set.

    Attributes:
        name: What users call it.
        expected: How many frames it has when complete; None where that is not known.
        hidden: Its ground truth is not published: frames come without label.
        keys: Regular expression for the names of its frames, in layouts that mix splits in one folder.
        folder: Its folder's name, in layouts with one a split; the split's own name when empty.
        shows: Only frames that show an anomalous class (True), or that show none (False); None: what they show is
            no matter.
        without: Places of frames that do not belong to it, counted from 0 in the order of all names in its folder.
        out_of: How many frames that folder has to hold for the places to mean anything.
        dummy: Its label files hold nothing but void and are not read.
    """

    name: str
    expected: int | None = None
    hidden: bool = False
    keys: str = ".*"
    folder: str = ""
    shows: bool | None = None
    without: tuple[int, ...] = ()
    out_of: int | None = None
    dummy: bool = False


@dataclass(frozen=True)
class DatasetSpec:
    """Everything there is to know about a data set before its files are seen.

    Attributes:
        name: Registry name.
        title: Full name.
        splits: Its parts.
        default_split: The part that is read when none is named.
        layouts: Ways in which it lies on disk, tried in order.
        table: What stored values mean; a layout's own table, by layout name in ``tables``, goes before it.
        kind: ``anomaly`` where labels say what is anomalous, ``classes`` where they hold class numbers.
        label_space: The classes, of a set of kind ``classes``.
        anomalies: Of a set of kind ``classes``: meanings in the table beyond the classes that are anomalies always.
        held_out: Of a set of kind ``classes``: classes that are its anomalies unless a user names others.
        tables: ``(layout, table)`` where a layout stores other values.
        map_tables: ``(map, table)`` of what the values of the layouts' further maps mean. A map ``classes`` is the
            class map of an anomaly set, in its label space.
        collect: Of a set of whole images that are sorted into classes, without label files: finds them in the place of
            ``layouts``.
        check: Called with the folder once a layout fits; raises where it holds something else all the same.
        table_from: Reads the table from files of the data set, given the folder of its images; ``table`` then stands
            for it in words alone.
        roi: Name of an 8-bit mask in the data set's folder that holds for all frames: where it is 0, labels are void.
        group: Regular expression whose first group, matched on a frame's id, is its scene or sequence.
        licence: Terms, in words.
        citation: The paper.
        homepage: Where to get it.
        notes: Traps worth printing.
        archives: What of it is at public addresses.
        by_hand: What has to be fetched by oneself, and where to put it.
    """

    name: str
    title: str
    splits: tuple[Split, ...]
    default_split: str
    layouts: tuple[Layout, ...]
    table: ValueTable
    kind: Literal["anomaly", "classes"] = "anomaly"
    label_space: LabelSpace | None = None
    anomalies: tuple[int, ...] = ()
    held_out: tuple[str, ...] = ()
    tables: tuple[tuple[str, ValueTable], ...] = ()
    map_tables: tuple[tuple[str, ValueTable], ...] = ()
    collect: Collect | None = None
    check: Callable[[Path], None] | None = None
    table_from: Callable[[Path], ValueTable] | None = None
    roi: str = ""
    group: str = ""
    licence: str = ""
    citation: str = ""
    homepage: str = ""
    notes: str = ""
    archives: tuple[Archive, ...] = ()
    by_hand: str = ""

    def split(self, name: str | None) -> Split:
        """The split of that name, or the default one.

        Raises:
            DataError: There is none of that name; those there are are listed.
        """
        wanted = name or self.default_split
        for split in self.splits:
            if split.name == wanted:
                return split
        known = ", ".join(split.name for split in self.splits)
        raise DataError(f"{self.name} has no split {wanted!r}; its splits are: {known}")

    def layout(self, name: str) -> Layout:
        """The layout of that name.

        Raises:
            ConfigError: There is none of that name.
        """
        for layout in self.layouts:
            if layout.name == name:
                return layout
        raise unknown_name(f"layout of {self.name}", name, [layout.name for layout in self.layouts])

    def table_for(self, layout: Layout, label_values: str | ValueTable | None = None) -> ValueTable:
        """The value table in force: the user's, else the layout's, else the data set's.

        Raises:
            ConfigError: The user's table cannot be read, or the labels are class numbers.
        """
        if label_values is None:
            return dict(self.tables).get(layout.name, self.table)
        if self.kind == "classes":
            raise ConfigError(f"label values do not apply to {self.name}: its labels hold class numbers")
        return parse_value_table(label_values) if isinstance(label_values, str) else label_values

    def anomalous(self, held_out: Sequence[str] = ()) -> tuple[int, ...]:
        """Meanings in the table that count as anomalies.

        Args:
            held_out: Classes to count as anomalies instead of the data set's own held-out ones.

        Raises:
            ConfigError: There is no such class, or the labels hold no classes.
        """
        names = tuple(held_out) or self.held_out
        if names and (self.label_space is None or self.kind == "anomaly"):
            raise ConfigError(f"held-out classes need a data set with class labels; {self.name} has anomaly labels")
        indices = (self.label_space.index(name) for name in names) if self.label_space else ()
        return (*self.anomalies, *indices)

    def told(self, held_out: Sequence[str] = ()) -> str:
        """What its class numbers become in anomaly labels, in words.

        Example:
            >>> from anomseg.data import dataset_spec
            >>> dataset_spec("camvid").told(["fence"])
            'camvid classes, held-out ones (fence) 1, other ones 0'
        """
        names = ", ".join(tuple(held_out) or self.held_out)
        ones = [*(["anomalies"] if self.anomalies else []), *([f"held-out ones ({names})"] if names else [])]
        return f"{self.table.name} classes, {' and '.join(ones) or 'held-out ones (none)'} 1, other ones 0"

    def beyond_classes(self, table: ValueTable) -> tuple[int, ...]:
        """Meanings in a table that are neither void nor a class of the label space."""
        if self.label_space is None:
            return ()
        return tuple(sorted({meaning for _, meaning in table.pairs} - {*range(len(self.label_space)), VOID}))

    def group_of(self, frame_id: str) -> str:
        """Scene or sequence of a frame, by its id; empty where the name does not tell."""
        match = re.fullmatch(self.group, frame_id) if self.group else None
        return match.group(1) if match else ""
