import os
import signal
import threading

import pytest

from lmscope.runs.signals import Interrupted, StopSignal


def handlers():
    return signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_becomes_a_flag_and_handlers_come_back(number):
    before = handlers()
    with StopSignal() as stop:
        stop.raise_if_requested()
        os.kill(os.getpid(), number)
        assert stop.requested
        with pytest.raises(Interrupted):
            stop.raise_if_requested()
    assert handlers() == before


def test_a_second_interrupt_stops_at_once():
    before = handlers()
    with pytest.raises(KeyboardInterrupt), StopSignal():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert handlers() == before


def test_terminate_then_interrupt_still_lets_the_loop_save():
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested


def test_other_threads_can_ask_and_install_no_handlers():
    heard = []

    def work():
        with StopSignal() as stop:
            heard.append(stop.requested)
            stop.request()
            heard.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [False, True]
