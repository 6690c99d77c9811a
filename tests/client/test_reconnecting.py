"""The way back into a room: steps and delays (rules L1 and L2)."""

from random import Random

import pytest

from trio_rpc.client.reconnecting import Ending, ReconnectPolicy, Recovery, Step

LOST, RECONNECT = Ending.LOST, Ending.RECONNECT
UNAUTHORIZED, FINAL = Ending.UNAUTHORIZED, Ending.FINAL


def steps(*endings: Ending) -> list[Step]:
    """Return the steps that follow a connection that ended, and tries that failed, so."""
    recovery = Recovery(ReconnectPolicy(), 0.0)
    return [recovery.after(ending)[0] for ending in endings]


def delays(*endings: Ending, jitter: float = 1.0, factor: float = 1.1) -> list[float]:
    """Return the delays before each of those steps."""
    recovery = Recovery(ReconnectPolicy(factor=factor), 0.0, lambda: jitter)
    return [recovery.after(ending)[1] for ending in endings]


def test_a_lost_connection_is_resumed_until_the_server_refuses() -> None:
    assert steps(LOST, LOST, RECONNECT, LOST) == [
        Step.RESUME,
        Step.RESUME,
        Step.REJOIN,
        Step.REJOIN,
    ]


def test_after_a_link_that_cannot_be_resumed_the_room_is_joined_again() -> None:
    assert steps(Ending.LOST_FOR_GOOD, LOST) == [Step.REJOIN, Step.REJOIN]
    recovery = Recovery(ReconnectPolicy(first_delay=4, base=3), 0.0, lambda: 1.0)
    assert [recovery.after(each)[1] for each in (Ending.LOST_FOR_GOOD, LOST)] == [4.0, 3.0]


def test_after_a_reconnect_the_room_is_joined_again_at_once() -> None:
    assert steps(RECONNECT) == [Step.REJOIN]
    assert delays(RECONNECT, LOST) == [0.0, 0.0]


@pytest.mark.parametrize("before", [[], [LOST], [RECONNECT], [LOST, LOST, RECONNECT]])
def test_the_end_is_the_end(before: list[Ending]) -> None:
    assert steps(*before, FINAL)[-1] is Step.END


def test_a_token_is_asked_for_once_more() -> None:
    assert steps(LOST, UNAUTHORIZED, UNAUTHORIZED) == [Step.RESUME, Step.REJOIN, Step.REJOIN]
    assert steps(LOST, UNAUTHORIZED, UNAUTHORIZED, UNAUTHORIZED)[-1] is Step.END
    assert delays(LOST, UNAUTHORIZED, UNAUTHORIZED)[1:] == [0.0, 0.0]


def test_delays_grow_to_their_limit() -> None:
    expected = [0.0, 0.3, 0.6, 1.2, 2.4, 4.8, 7.0, 7.0]
    assert delays(*[LOST] * 8, factor=2) == pytest.approx(expected)
    halves = [each / 2 for each in expected]
    assert delays(*[LOST] * 8, factor=2, jitter=0.5) == pytest.approx(halves)


def test_a_network_that_is_back_after_five_seconds_is_found_within_two() -> None:
    jitter = Random(0)
    for _ in range(1_000):
        recovery, now = Recovery(ReconnectPolicy(), 0.0, jitter.random), 0.0
        while now < 5:
            now += recovery.after(LOST)[1]
        assert now < 7


@pytest.mark.parametrize("sent_away", [1, 2, 3])
def test_being_sent_away_soon_counts_as_an_attempt(sent_away: int) -> None:
    recovery = Recovery(ReconnectPolicy(factor=2), 0.0, lambda: 1.0, sent_away)
    step, delay = recovery.after(RECONNECT)
    assert step is Step.REJOIN
    assert delay == pytest.approx(0.3 * 2 ** (sent_away - 1))


def test_a_thousand_tries_do_not_overflow() -> None:
    assert delays(*[LOST] * 3_000)[-1] == 7.0


def test_the_room_is_given_up_after_a_minute() -> None:
    assert Recovery(ReconnectPolicy(), 100.0).give_up_at == 160.0


@pytest.mark.parametrize("setting", ["give_up_after", "first_delay", "base", "factor", "cap"])
def test_a_policy_with_a_negative_setting_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=setting):
        ReconnectPolicy(**{setting: -1.0})
