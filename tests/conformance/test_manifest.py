"""Every rule has a test, and every test names rules that there are."""

from __future__ import annotations

from .manifest import COMING, documented_rules, proofs_by_rule


def test_every_rule_has_a_test() -> None:
    assert sorted(documented_rules() - COMING - proofs_by_rule().keys()) == []


def test_every_test_names_rules_that_there_are() -> None:
    unknown = {
        rule: tests for rule, tests in proofs_by_rule().items() if rule not in documented_rules()
    }
    assert unknown == {}


def test_what_is_coming_is_a_rule_and_has_no_test_yet() -> None:
    assert documented_rules() >= COMING
    assert sorted(COMING & proofs_by_rule().keys()) == []
