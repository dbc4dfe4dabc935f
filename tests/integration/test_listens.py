"""Where the demo's Airflow can be reached from."""

from __future__ import annotations

import ipaddress

import psutil
import pytest

from .conftest import Airflow

pytestmark = pytest.mark.airflow


def test_the_demos_airflow_listens_on_loopback_only(airflow: Airflow) -> None:
    listening = {
        (connection.laddr.ip, connection.laddr.port, " ".join(process.cmdline())[-60:])
        for process in psutil.Process().children(recursive=True)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN or not connection.raddr
    }
    assert any(str(port) in airflow.url for _, port, _ in listening), "the API server is among them"
    assert [each for each in listening if not ipaddress.ip_address(each[0]).is_loopback] == []
