"""The test that `setup` makes: what only root's own agent would be refused for leads to the account that runs it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ioconnect.checks.results import CheckId, Finding, Report, passed
from ioconnect.commands.setup import service, steps
from ioconnect.commands.setup.answers import Answers
from ioconnect.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

REFUSED = Report((passed(CheckId.CONFIG, Finding("root's", warning=True, exit_code=ExitCode.OS_ERROR), 1.0),))
WELL = Report((passed(CheckId.CONFIG, Finding("well"), 1.0),))


@pytest.fixture
def tested(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[ExitCode, Answers, list[int | None]]]:
    """Return a function that runs the step where a service needs an account; with what it judged the files for."""

    def test(answers: Answers, *, wants_service: bool = True) -> tuple[ExitCode, Answers, list[int | None]]:
        judged: list[int | None] = []

        def check(*_: object, run_as: int | None, **__: object) -> Report:
            judged.append(run_as)
            return REFUSED if run_as is None else WELL

        def confirm(question: str, **_: object) -> bool:
            return wants_service and question.startswith("Keep it running")

        terminal = SimpleNamespace(is_interactive=True, say=print, confirm=confirm, ask=lambda *_: "nobody")
        invocation: Any = SimpleNamespace(terminal=terminal)
        monkeypatch.setattr(steps, "check_tunnel", check)
        monkeypatch.setattr(service, "needs_account", lambda given: given.run_as is None)
        monkeypatch.setattr(service, "account_of", lambda given: given.run_as and 65534)
        code, answers = steps._test(invocation, "orders", answers)
        return code, answers, judged

    return test


def test_it_asks_for_the_account_and_judges_the_files_for_that(tested: Callable[..., Any]) -> None:
    code, answers, judged = tested(Answers())

    assert (code, answers.run_as, answers.service, judged) == (ExitCode.OK, "nobody", True, [None, 65534])


@pytest.mark.parametrize(("service_answer", "wants"), [(False, True), (None, False)])
def test_without_a_service_it_is_to_be_mended(
    tested: Callable[..., Any], *, service_answer: bool | None, wants: bool
) -> None:
    code, answers, judged = tested(Answers(service=service_answer), wants_service=wants)

    assert (code, answers.run_as, judged) == (ExitCode.OS_ERROR, None, [None])


def test_the_service_of_the_account_that_was_installed_is_no_open_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else root's second `setup` left with 64, `missing: --service or --no-service`."""
    monkeypatch.setattr(service, "is_installed", lambda run_as=None: run_as == "nobody")
    invocation: Any = SimpleNamespace()

    open_questions = steps._open_questions(invocation, Answers(run_as="nobody", yes=True), None)

    assert not open_questions.service
