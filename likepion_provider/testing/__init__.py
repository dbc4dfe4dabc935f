"""The contract of importers as tests, for this package's importers and for those of packages of one's own.

.. code-block:: python

    from likepion_provider.testing import contract
    from tests import server
    test_contract = contract(server)

``server`` is a module beside the tests, as :mod:`likepion_provider.testing.server` says. ``likepion platforms new``
writes such a package.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import ModuleType

try:
    import pytest
except ImportError as error:
    raise ImportError("the contract needs pytest: pip install 'airflow-provider-likepion[testing]'") from error

# Before they are imported: an assertion that fails then shows both sides, as in one's own tests.
pytest.register_assert_rewrite(f"{__name__}.rules", f"{__name__}.hostile")

from likepion_provider.platforms import Platform
from likepion_provider.testing import hostile, rules
from likepion_provider.testing.rules import Rule
from likepion_provider.testing.server import CANARY, PlatformServer, ServerEpisode

__all__ = ["CANARY", "PlatformServer", "Rule", "ServerEpisode", "contract"]


def contract(server: ModuleType) -> Callable[[Rule], None]:
    """Every rule, and every trick of a hostile site, as tests of one importer; needs no plug-in of pytest.

    :param server: the module of the importer's server, with ``IMPORTER``.
    :return: a test for pytest to collect, with one case per rule.
    """
    platform: type[Platform] = server.IMPORTER

    @pytest.mark.parametrize("rule", [*rules.RULES, *hostile.RULES], ids=lambda rule: rule.__name__)
    def test(rule: Rule) -> None:
        asyncio.run(rule(platform(), server))

    return test
