"""XML that a labelling tool wrote: read whole, or refused with the reason."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from edge.errors import DatasetError
from edge.wording import counted


def read_label_xml(path: Path, root_tag: str, whose: str, bytes_at_most: int) -> Element:
    """Read an XML file whose root is `root_tag`, as the tool `whose` writes it. Raises DatasetError naming the file."""
    try:
        text = path.read_bytes()
        if len(text) > bytes_at_most:
            raise DatasetError(
                f"{path} has {counted(len(text), 'byte')}; expected an annotation, of at most {bytes_at_most}"
            )
        root: Element = fromstring(text)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    except ParseError as error:
        raise DatasetError(f"{path} is no XML: {error}. Mend or remove it") from error
    except DefusedXmlException as error:
        raise DatasetError(f"{path} defines entities, which annotations need not: {error}. Write it without") from error
    except (LookupError, ValueError) as error:  # an encoding that does not exist, or not what it says
        raise DatasetError(f"{path} cannot be read as XML: {error}") from error
    if root.tag != root_tag:
        raise DatasetError(f"{path}: expected <{root_tag}> as {whose} has it, received <{root.tag}>")
    return root
