"""Session descriptions: the data channels out of an offer, and into an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_rpc.webrtc.sdp import (
    MAX_SDP_BYTES,
    MAX_SECTIONS,
    MAX_WHOLE_BYTES,
    complete_answer,
    data_only,
    whole,
    without_rejected,
    without_sources,
)

from .descriptions import CANDIDATE, CREDENTIALS, OFFER, SESSION, data, media

#: As aiortc answers the data channels alone.
ANSWER = SESSION.replace("BUNDLE 0 1", "BUNDLE 0") + data(
    extra=CANDIDATE + "a=end-of-candidates\r\n"
)


def sections(sdp: str) -> list[list[str]]:
    return [f"m={each}".split("\r\n")[:-1] for each in sdp.split("m=")[1:]]


def bundle(sdp: str) -> list[str]:
    [line] = [line for line in sdp.split("\r\n") if line.startswith("a=group:BUNDLE")]
    return line.split()[1:]


@pytest.mark.parametrize(
    "offer",
    [
        SESSION + data(),
        SESSION + media("audio", "1") + data(),
        SESSION + data() + media("video", "1"),
        SESSION + media("audio", "1") + data() + media("video", "2"),
        (SESSION + data()).replace("\r\n", "\n"),
        (SESSION + data()).rstrip(),
    ],
)
def test_the_data_channels_are_taken_out_of_an_offer(offer: str) -> None:
    assert data_only(offer) == SESSION.replace("a=group:BUNDLE 0 1\r\n", "") + (
        "a=group:BUNDLE 0\r\n" + data()
    )


def test_the_sources_of_a_section_are_left_out() -> None:
    sources = "a=msid:- TR_1\r\na=ssrc-group:FID 1 2\r\na=ssrc:1 cname:x\r\na=ssrc:2 cname:x\r\n"
    offer = SESSION + data() + media("video", "1") + sources + media("audio", "2") + sources
    expected = SESSION + data() + media("video", "1") + media("audio", "2") + sources
    assert without_sources(offer, {"1"}) == expected
    assert without_sources(offer, set()) == offer


def test_what_is_rejected_is_inactive_instead() -> None:
    offer = SESSION + media("audio", "1") + data() + media("video", "2")
    # As LiveKit's server rejects a section.
    answer = (
        SESSION + media("audio", "1", "recvonly") + data() + "m=video 0 UDP/TLS/RTP/SAVPF 0\r\n"
    )
    changed, rejected = without_rejected(answer, offer)
    assert rejected == {"2"}
    *before, video = sections(changed)
    assert [before] == [sections(answer)[:2]]
    assert {"a=mid:2", "a=inactive", "a=rtpmap:111 codec/48000"} <= {*video}
    assert video[0] == "m=video 9 UDP/TLS/RTP/SAVPF 111"
    assert without_rejected(changed, offer) == (changed, set())
    with pytest.raises(ValueError, match="2 sections for 3 that were offered"):
        without_rejected(SESSION + data() + media("audio", "1"), offer)


def test_what_we_offer_ourselves_has_no_limit() -> None:
    # As on a host of many addresses, each of which is in each section.
    audio = [media("audio", str(number), extra=CANDIDATE * 60) for number in range(1, 401)]
    offer = SESSION + data() + "".join(audio)
    assert len(offer) > MAX_WHOLE_BYTES
    assert without_sources(offer, set()) == offer
    with pytest.raises(ValueError, match="bytes, over the limit of 1,048,576"):
        whole(offer, keeps_candidate=lambda _: True)
    answer = SESSION + data() + "m=audio 0 UDP/TLS/RTP/SAVPF 0\r\n" * 400
    _, rejected = without_rejected(answer, offer)
    assert len(rejected) == 400
    many = SESSION + data() + media("audio", "1") * MAX_SECTIONS
    assert without_sources(many, set()) == many


@pytest.mark.parametrize("host", ["192.0.2.1", "abcd-1234.local", "2001:db8::1"])
def test_addresses_are_left_out(host: str) -> None:
    candidates = CANDIDATE.replace("192.0.2.1", host) * 1000 + "a=end-of-candidates\r\n"
    assert data_only(SESSION + data(extra=candidates)) == data_only(OFFER)


@pytest.mark.parametrize(
    ("sdp", "why"),
    [
        ("", "0 sections of data channels: 1 is wanted"),
        (SESSION, "0 sections of data channels: 1 is wanted"),
        (SESSION + data() + data("1"), "2 sections of data channels: 1 is wanted"),
        (SESSION + "m=\r\na=mid:0", "a section without a format"),
        (SESSION + "m=application 9 UDP", "a section without a=mid"),
        (SESSION + media("audio", "0") * 501, "501 sections, over the limit of 500"),
        ("v" * (MAX_SDP_BYTES + 1), "262,145 bytes, over the limit of 262,144"),
        ("é" * (MAX_SDP_BYTES // 2 + 1), "262,146 bytes, over the limit of 262,144"),
    ],
)
def test_what_has_no_data_channels_is_refused(sdp: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}$"):
        data_only(sdp)


def test_each_section_of_an_offer_is_answered_in_its_order() -> None:
    offer = SESSION + media("audio", "a") + data("0") + media("video", "v")
    answer = complete_answer(ANSWER, offer)
    audio, application, video = sections(answer)
    assert bundle(answer) == ["a", "0", "v"]
    assert application == sections(ANSWER)[0]
    transport = [*CREDENTIALS.split("\r\n")[:-1], CANDIDATE.rstrip(), "a=end-of-candidates"]
    for kind, mid, section in (("audio", "a", audio), ("video", "v", video)):
        assert section == [
            f"m={kind} 9 UDP/TLS/RTP/SAVPF 111",
            "c=IN IP4 0.0.0.0",
            f"a=mid:{mid}",
            "a=inactive",
            "a=rtcp-mux",
            *transport,
            "a=rtpmap:111 codec/48000",
            "a=fmtp:111 x=1",
        ]


def test_a_section_that_the_client_has_stopped_stays_so() -> None:
    answer = complete_answer(ANSWER, OFFER + media("audio", "a", port=0))
    assert bundle(answer) == ["0"]
    assert sections(answer)[1][0] == "m=audio 0 UDP/TLS/RTP/SAVPF 111"
    assert not [line for line in sections(answer)[1] if line.startswith("a=candidate")]


def test_a_section_that_is_wanted_in_its_bundle_only_is_answered() -> None:
    offer = OFFER + media("audio", "a", port=0, extra="a=bundle-only\r\n")
    answer = complete_answer(ANSWER, offer)
    assert bundle(answer) == ["0", "a"]
    assert sections(answer)[1][0] == "m=audio 9 UDP/TLS/RTP/SAVPF 111"


LINES = st.sampled_from(
    [
        *OFFER.split("\r\n"),
        *media("audio", "1").split("\r\n"),
        *data("1").split("\r\n"),
        CANDIDATE.rstrip(),
        "a=bundle-only",
        "m=",
        "m=application",
        "a=mid:",
        "\u2028",
    ]
)


@given(st.lists(LINES | st.text(max_size=20), max_size=60).map("\r\n".join))
def test_whatever_a_client_offers_is_answered_or_refused(sdp: str) -> None:
    try:
        offered = data_only(sdp)
    except ValueError:
        return
    assert len(sections(offered)) == 1
    assert "a=candidate" not in offered
    answer = complete_answer(ANSWER, sdp)
    assert len(answer.split("\r\nm=")) == len(("\n" + sdp.replace("\r\n", "\n")).split("\nm="))
