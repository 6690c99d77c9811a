"""Packets that are retained until they have arrived (rules L4 and L5)."""

from collections.abc import Callable

import pytest
from livekit.protocol import models

from trio_rpc.links import Channel, Frame
from trio_rpc.links.frames import encode_and_count, packets_in
from trio_rpc.protocol.receipts import RECEIPT_BYTES, RECEIPT_PACKETS, Receipts, read_receipt
from trio_rpc.protocol.retained import NotRetainedError, RetainedPackets


def retained_packets(max_bytes: int = 1_000_000) -> RetainedPackets:
    return RetainedPackets(packets_in, max_bytes)


def retain(retained: RetainedPackets, *packets: bytes) -> None:
    """Retain a message with these packets."""
    retained.add(*encode_and_count(Frame(Channel.RELIABLE, each) for each in packets))


def packet(number: int, publisher: str = "PA_1", payload: bytes = b"") -> bytes:
    """Return a serialised packet of a publisher."""
    user = models.UserPacket(payload=payload)
    whole = models.DataPacket(sequence=number, participant_sid=publisher, user=user)
    return whole.SerializeToString()


def had(**last_numbers: int) -> Callable[[models.DataPacket], bool]:
    """Return a test of packets by the last number had of each publisher."""
    return lambda packet: packet.sequence <= last_numbers.get(packet.participant_sid, 0)


def test_what_has_not_arrived_is_missed_in_order() -> None:
    retained = retained_packets()
    for number in range(1, 11):
        retain(retained, packet(number))
    assert retained.missed(had(PA_1=7)) == [packet(8), packet(9), packet(10)]
    retained.clear()
    assert (len(retained), retained.retained_bytes) == (0, 0)


@pytest.mark.parametrize("arrived", range(7))
def test_each_publisher_has_numbers_of_its_own(arrived: int) -> None:
    sent = [("PA_1", 5), ("PA_2", 1), ("PA_1", 9), ("RM_1", 3), ("PA_2", 2), ("PA_3", 1)]
    packets = [packet(number, publisher) for publisher, number in sent]
    retained = retained_packets()
    for each in packets:
        retain(retained, each)
    assert retained.missed(had(**dict(sent[:arrived]))) == packets[arrived:]


def test_a_publisher_that_is_not_listed_has_missed_all() -> None:
    retained = retained_packets()
    retain(retained, packet(1, "PA_2"))
    assert retained.missed(had(PA_1=100)) == [packet(1, "PA_2")]


def test_a_receipt_frees_what_has_arrived() -> None:
    retained = retained_packets()
    for number in range(1, 5):
        retain(retained, packet(number))
    retained.on_arrived(3)
    assert len(retained) == 1
    retained.on_arrived(1)
    assert len(retained) == 1
    retained.on_arrived(4)
    assert (len(retained), retained.retained_bytes) == (0, 0)


def test_a_message_is_retained_until_all_of_it_has_arrived() -> None:
    retained = retained_packets()
    retain(retained, packet(1), packet(2), packet(3))
    retain(retained)
    retain(retained, packet(4))
    retained.on_arrived(2)
    assert len(retained) == 4
    assert retained.missed(had(PA_1=2)) == retained.missed(had()) == [packet(3), packet(4)]
    retained.on_arrived(3)
    assert len(retained) == 1
    assert retained.missed(had(PA_1=3)) == [packet(4)]


def test_a_receipt_for_more_than_was_sent_is_refused() -> None:
    retained = retained_packets()
    retain(retained, packet(1))
    with pytest.raises(ValueError, match="2 packets are said to have arrived, of 1 sent"):
        retained.on_arrived(2)
    assert len(retained) == 1


def test_beyond_its_limit_a_resume_is_refused() -> None:
    retained = retained_packets(max_bytes=1_000)
    for number in range(1, 101):
        retain(retained, packet(number, payload=bytes(100)))
    assert retained.retained_bytes <= 1_000
    with pytest.raises(NotRetainedError, match=r"1,000 bytes"):
        retained.missed(had())
    with pytest.raises(NotRetainedError):
        retained.missed(had(PA_1=50))


def test_beyond_its_limit_a_resume_works_when_what_was_dropped_has_arrived() -> None:
    retained = retained_packets(max_bytes=1_000)
    packets = [packet(number, payload=bytes(100)) for number in range(1, 101)]
    for each in packets:
        retain(retained, each)
    missed = retained.missed(had(PA_1=98))
    assert missed == packets[98:]
    retained.clear()
    retain(retained, *missed)
    retained.on_arrived(1)
    assert retained.missed(had(PA_1=98)) == packets[99:]


def test_receipts_count_from_the_beginning_of_a_connection() -> None:
    retained = retained_packets()
    for number in range(1, 6):
        retain(retained, packet(number))
    missed = retained.missed(had(PA_1=3))
    assert len(missed) == 2
    retained.clear()
    retain(retained, *missed)
    retain(retained, packet(6))
    with pytest.raises(ValueError, match="4 packets are said to have arrived, of 3 sent"):
        retained.on_arrived(4)
    retained.on_arrived(2)
    assert retained.missed(had()) == [packet(6)]


def test_receipts_count_and_are_sent_when_much_has_come() -> None:
    receipts = Receipts()
    assert receipts.take() is None
    assert not receipts.add(1, 100)
    assert read_receipt(receipts.take() or b"") == 1
    assert receipts.take() is None
    assert receipts.add(1, RECEIPT_BYTES)
    assert read_receipt(receipts.take() or b"") == 2
    assert not receipts.add(1, 100)


@pytest.mark.rule("L5")
def test_a_receipt_is_sent_when_many_small_packets_have_come() -> None:
    receipts = Receipts()
    assert not receipts.add(RECEIPT_PACKETS - 1, 0)
    assert receipts.add(1, 0)
    assert read_receipt(receipts.take() or b"") == RECEIPT_PACKETS
    assert not receipts.add(RECEIPT_PACKETS - 1, 0)


@pytest.mark.parametrize("garbage", [b"", b"1", bytes(9)])
def test_what_is_no_receipt_is_refused(garbage: bytes) -> None:
    with pytest.raises(ValueError, match="a receipt of"):
        read_receipt(garbage)
