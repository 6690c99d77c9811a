"""The data channels of a session description alone, and an answer to all of an offer.

aiortc is given the section of the data channels (`m=application`) and nothing else. The audio and
video that a client offers are accepted as inactive on the same transport: a rejected section would
make browsers negotiate again.

The addresses of a client (its ICE candidates) are left out. The client knows ours from our
description and connects to us, and its address is seen then. So no client can have us send packets
to addresses of its choice, or look up names, which takes seconds for those that browsers make up
(`….local`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from itertools import chain
from typing import Final

#: Browsers send some tens of kilobytes.
MAX_SDP_BYTES: Final = 256 * 1024
#: The same for one of a server of LiveKit's, which has up to 1.5 KB for each track.
MAX_WHOLE_BYTES: Final = 1024 * 1024
MAX_SECTIONS: Final = 500
_CANDIDATES: Final = ("a=candidate:", "a=end-of-candidates")
#: The lines that the sections of one bundle share: the transport.
_TRANSPORT: Final = ("a=ice-", "a=fingerprint:", "a=setup:", *_CANDIDATES)

#: The lines of a section that name what is sent by it.
_SOURCES: Final = ("a=msid:", "a=ssrc:", "a=ssrc-group:")

#: The lines of one section, the first of which begins with `m=`.
_Section = Sequence[str]


def whole(sdp: str, *, keeps_candidate: Callable[[str], bool]) -> str:
    """Return an offer or answer with all of its sections, and some of its addresses.

    Args:
        sdp: The offer or answer of the other side.
        keeps_candidate: Whether to keep one of its addresses.

    Raises:
        ValueError: it is too long, has not exactly one section of data channels, or is invalid.
    """
    session, sections = _parse_foreign(sdp, MAX_WHOLE_BYTES)
    _data_section(sections)
    lines = [*session, *chain.from_iterable(sections)]
    return _join([line for line in lines if _is_kept(line, keeps_candidate)])


def without_sources(sdp: str, mids: Set[str]) -> str:
    """Return an offer of ours in which some sections do not name what is sent by them.

    Args:
        sdp: The offer.
        mids: The ids of those sections.
    """
    session, sections = _parse(sdp)
    lines = [*session]
    for section in sections:
        is_named = _attribute(section, "mid") not in mids
        lines += [line for line in section if is_named or not line.startswith(_SOURCES)]
    return _join(lines)


def data_only(sdp: str) -> str:
    """Return an offer or answer with its data channels alone.

    Args:
        sdp: The offer or answer of the other side.

    Raises:
        ValueError: it is too long, has not exactly one section of data channels, or is invalid.
    """
    session, sections = _parse_foreign(sdp, MAX_SDP_BYTES)
    data = _data_section(sections)
    lines = [*_bundle(session, [_attribute(data, "mid")]), *data]
    return _join([line for line in lines if not line.startswith(_CANDIDATES)])


def _is_kept(line: str, keeps_candidate: Callable[[str], bool]) -> bool:
    if not line.startswith(_CANDIDATES):
        return True
    return keeps_candidate(line.removeprefix("a="))


def complete_answer(answer: str, offer: str) -> str:
    """Return the answer to a whole offer, from the answer to its data channels.

    Raises:
        ValueError: one of them is invalid.
    """
    session, (data,) = _parse(answer)
    _, offered = _parse_foreign(offer, MAX_SDP_BYTES)
    transport = [line for line in data if line.startswith(_TRANSPORT)]
    accepted = [section for section in offered if not _is_rejected(section)]
    lines = _bundle(session, [_attribute(section, "mid") for section in accepted])
    for section in offered:
        lines += data if _is_data(section) else _inactive(section, transport)
    return _join(lines)


def without_rejected(answer: str, offer: str) -> tuple[str, set[str]]:
    """Return an answer in which no section is rejected, and the ids of those that were.

    They are inactive instead: aiortc takes no answer without a codec for each section.

    Args:
        answer: The answer of the other side.
        offer: The offer of ours.

    Raises:
        ValueError: they are of different numbers of sections, or one of them is invalid.
    """
    session, sections = _parse_foreign(answer, MAX_WHOLE_BYTES)
    _, offered = _parse(offer)
    if len(sections) != len(offered):
        raise ValueError(f"{len(sections)} sections for {len(offered)} that were offered")
    transport = [line for line in _data_section(sections) if line.startswith(_TRANSPORT)]
    rejected: set[str] = set()
    lines = [*session]
    for section, ours in zip(sections, offered, strict=True):
        if _is_rejected(section):
            rejected.add(_attribute(ours, "mid"))
            lines += _inactive(ours, transport)
        else:
            lines += section
    return _join(lines), rejected


def _inactive(section: _Section, transport: Sequence[str]) -> Iterator[str]:
    """Yield an inactive answer to audio or video, with the first of the offered formats."""
    kind, _, protocol, payload_type = _media(section)
    rejected = _is_rejected(section)
    yield f"m={kind} {0 if rejected else 9} {protocol} {payload_type}"
    yield "c=IN IP4 0.0.0.0"
    yield f"a=mid:{_attribute(section, 'mid')}"
    yield "a=inactive"
    yield "a=rtcp-mux"
    if not rejected:
        # Repeated here, since browsers read the first section alone.
        yield from transport
    wanted = (f"a=rtpmap:{payload_type} ", f"a=fmtp:{payload_type} ")
    yield from (line for line in section if line.startswith(wanted))


def _parse_foreign(sdp: str, max_bytes: int) -> tuple[list[str], list[list[str]]]:
    """Parse a description of the other side, which is limited, as ours are not."""
    size = len(sdp.encode())
    if size > max_bytes:
        raise ValueError(f"{size:,} bytes, over the limit of {max_bytes:,}")
    session, sections = _parse(sdp)
    if len(sections) > MAX_SECTIONS:
        raise ValueError(f"{len(sections):,} sections, over the limit of {MAX_SECTIONS}")
    return session, sections


def _parse(sdp: str) -> tuple[list[str], list[list[str]]]:
    """Return the lines of the session, and those of each section."""
    session: list[str] = []
    sections: list[list[str]] = []
    for line in sdp.replace("\r\n", "\n").rstrip("\n").split("\n"):
        if len(line.splitlines()) > 1:
            # aiortc would see several lines, in which addresses and media could hide.
            raise ValueError("a line with a control character in it")
        if line.startswith("m="):
            sections.append([])
        (sections[-1] if sections else session).append(line)
    for section in sections:
        # A rejected section, of port 0, may lack its id.
        if section[0].split()[1:2] != ["0"]:
            _attribute(section, "mid")
        _media(section)
    return session, sections


def _data_section(sections: Sequence[_Section]) -> _Section:
    found = [section for section in sections if _is_data(section)]
    if len(found) != 1:
        raise ValueError(f"{len(found)} sections of data channels: 1 is wanted")
    return found[0]


def _is_data(section: _Section) -> bool:
    return _media(section)[0] == "application"


def _is_rejected(section: _Section) -> bool:
    # The port is 0 as well in a section that is not wanted without its bundle.
    return _media(section)[1] == "0" and "a=bundle-only" not in section


def _bundle(session: Sequence[str], mids: Sequence[str]) -> list[str]:
    """Return the lines of a session, with all sections on one transport."""
    group = f"a=group:BUNDLE {' '.join(mids)}"
    rest = [line for line in session if not line.startswith("a=group:BUNDLE")]
    return [*rest, group]


def _attribute(section: _Section, name: str) -> str:
    prefix = f"a={name}:"
    for line in section:
        if line.startswith(prefix):
            return line.removeprefix(prefix)
    raise ValueError(f"a section without {prefix[:-1]}")


def _media(section: _Section) -> tuple[str, str, str, str]:
    """Return the kind, port, protocol and first format of a section."""
    words = section[0].removeprefix("m=").split()
    if len(words) < 4:
        raise ValueError("a section without a format")
    return words[0], words[1], words[2], words[3]


def _join(lines: Sequence[str]) -> str:
    return "".join(f"{line}\r\n" for line in lines)
