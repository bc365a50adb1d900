"""Tar and zip archives, and the Excel workbooks that the latter are."""

from __future__ import annotations

import io
import tarfile
import zipfile
from typing import Final

_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
_SHEET: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_FAR_ROW: Final = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'

_TYPES: Final = f"""<Types xmlns="{_PACKAGE}/content-types">
<Default Extension="rels"
 ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Override PartName="/xl/workbook.xml" ContentType="{_SHEET}.sheet.main+xml"/>
<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_SHEET}.worksheet+xml"/>
<Override PartName="/xl/sharedStrings.xml" ContentType="{_SHEET}.sharedStrings+xml"/>
</Types>"""
_BOOK: Final = f"""<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>
<sheet name="Reviews" sheetId="1" r:id="r1"/></sheets></workbook>"""


def tar_archive(name: str, content: bytes) -> bytes:
    """A tar archive of one member."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def zip_archive(*members: tuple[str, bytes | str]) -> bytes:
    """A zip archive of these members."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return target.getvalue()


def workbook(
    *rows: tuple[object, ...], first: int = 1, far: bool = False, shared: str = ""
) -> bytes:
    """A workbook with one sheet.

    Its rows begin at the row `first`. With `far`, there is one more cell in the last corner of the
    sheet. Cells that are `shared` refer to one string.
    """
    cells = "".join(
        f'<row r="{number}">'
        + "".join(_cell(f"{'ABCDEF'[at]}{number}", value, shared) for at, value in enumerate(row))
        + "</row>"
        for number, row in enumerate(rows, start=first)
    )
    sheet = f"{cells}{_FAR_ROW if far else ''}"
    return zip_archive(
        ("[Content_Types].xml", _TYPES),
        ("_rels/.rels", _relationships(officeDocument="xl/workbook.xml")),
        ("xl/workbook.xml", _BOOK),
        (
            "xl/_rels/workbook.xml.rels",
            _relationships(worksheet="worksheets/sheet1.xml", sharedStrings="sharedStrings.xml"),
        ),
        ("xl/sharedStrings.xml", f'<sst xmlns="{_MAIN}"><si><t>{shared}</t></si></sst>'),
        (
            "xl/worksheets/sheet1.xml",
            f'<worksheet xmlns="{_MAIN}"><sheetData>{sheet}</sheetData></worksheet>',
        ),
    )


def _relationships(**targets: str) -> str:
    entries = "".join(
        f'<Relationship Id="r{number}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(targets.items(), start=1)
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{entries}</Relationships>'


def _cell(place: str, value: object, shared: str) -> str:
    if value is None:
        return ""
    if shared and value == shared:
        return f'<c r="{place}" t="s"><v>0</v></c>'
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'
    return f'<c r="{place}"><v>{value}</v></c>'
