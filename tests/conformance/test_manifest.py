"""Every rule has a test, and every test names rules that there are."""

from __future__ import annotations

from .manifest import documented_rules, proofs_by_rule


def test_every_rule_has_a_test() -> None:
    assert sorted(documented_rules() - proofs_by_rule().keys()) == []


def test_every_test_names_rules_that_there_are() -> None:
    unknown = {
        rule: tests for rule, tests in proofs_by_rule().items() if rule not in documented_rules()
    }
    assert unknown == {}
