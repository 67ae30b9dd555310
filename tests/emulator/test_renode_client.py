"""Talking to Renode's Monitor, against a fake that speaks the same protocol."""

from __future__ import annotations

from pathlib import Path

import pytest
from renode_fixtures import FakeRenode, fake_renode, gone, running

from hil.emulator.renode.client import Monitor
from hil.emulator.renode.find import Renode
from hil.errors import LinkError, UnavailableError


@pytest.fixture
def fake(tmp_path: Path) -> FakeRenode:
    return fake_renode(tmp_path)


def test_started_with_the_flags_of_a_headless_server(fake: FakeRenode) -> None:
    with Monitor(fake.renode):
        pass
    assert fake.lines() == ["argv --disable-gui --hide-log --robot-server-port 0 --port -1 --plain"]


def test_commands_and_answers(fake: FakeRenode) -> None:
    with Monitor(fake.renode) as monitor:
        assert monitor.execute("mach create") == "did mach create"
        assert monitor.execute("quiet") == ""
    assert fake.commands() == ["mach create", "quiet"]


def test_a_refused_command_is_named_with_the_reason_in_one_line(fake: FakeRenode) -> None:
    with Monitor(fake.renode) as monitor:
        with pytest.raises(LinkError, match=r"^Renode refused 'fail now': .*: No such command$") as caught:
            monitor.execute("fail now")
        assert caught.value.hint
        assert monitor.execute("next") == "did next"


def test_an_answer_without_a_status(fake: FakeRenode) -> None:
    with Monitor(fake.renode) as monitor, pytest.raises(LinkError, match="refused 'garbage'"):
        monitor.execute("garbage")


def test_a_command_that_ends_renode(fake: FakeRenode) -> None:
    with (
        Monitor(fake.renode) as monitor,
        pytest.raises(LinkError, match=r"did not answer 'die': .*its last line: Unhandled exception"),
    ):
        monitor.execute("die")


def test_the_log_says_what_the_accelerator_saw(fake: FakeRenode) -> None:
    """Its last line about the accelerator is in every error, even of a Renode that is no more."""
    with Monitor(fake.renode) as monitor:
        assert monitor.npu_complaint() is None
        monitor.execute(f"logFile @{monitor.log} true")
        assert monitor.npu_complaint() is None
        monitor.execute("npu command 3, job 0: no host")
        monitor.execute("npu command 3, job 1: hil's answer ends early")
        complaint = "the accelerator in Renode: command 3, job 1: hil's answer ends early"
        assert monitor.npu_complaint() == complaint
        with pytest.raises(LinkError, match=rf"refused 'fail'.*; {complaint}$"):
            monitor.execute("fail")
        with pytest.raises(LinkError, match=rf"did not answer 'die'.*last line: Unhandled exception; {complaint}$"):
            monitor.execute("die")
        assert monitor.npu_complaint() is None


def test_a_command_that_never_returns(fake: FakeRenode) -> None:
    with (
        Monitor(fake.renode, command_timeout_s=0.3) as monitor,
        pytest.raises(LinkError, match="did not answer 'hang': timed out"),
    ):
        monitor.execute("hang")


def test_nothing_stays_behind(fake: FakeRenode) -> None:
    monitor = Monitor(fake.renode)
    assert running(str(fake.record))
    monitor.close()
    assert gone(str(fake.record))
    monitor.close()


def test_a_start_script_in_between(fake: FakeRenode, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that listens is not the one that was started; both end."""
    monkeypatch.setenv("FAKE_RENODE", "wrapped")
    with Monitor(fake.renode) as monitor:
        assert monitor.execute("version") == "did version"
    assert gone(str(fake.record))


def test_renode_that_ends_at_its_start(fake: FakeRenode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_RENODE", "dies")
    with pytest.raises(LinkError, match=r"exit code 1.*: cannot open libsomething\.so"):
        Monitor(fake.renode)


def test_renode_that_does_not_come_up(fake: FakeRenode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_RENODE", "slow")
    with pytest.raises(LinkError, match=r"did not come up within 1 s; its last line: Renode says hello"):
        Monitor(fake.renode, start_timeout_s=1)
    assert gone(str(fake.record))


def test_a_renode_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot be started"):
        Monitor(Renode(tmp_path / "renode", (1, 16, 1)))
