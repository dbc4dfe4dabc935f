"""Airflow provider for the Likepion podcast manager: secondary accounts, feeds in, episode URLs out."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

#: The DAG that comes with the package; who may read it sees the board, who may edit it settles unknown outcomes.
DAG_ID = "likepion_podcast_secondary"


def get_provider_info() -> dict[str, Any]:
    """What Airflow's provider manager asks for; see Airflow's ``provider_info.schema.json``."""
    integration = "Likepion"
    return {
        "package-name": "airflow-provider-likepion",
        "name": integration,
        "description": "Import a podcast's RSS feed into many platform accounts, report every episode exactly once.",
        "versions": [__version__],
        "integrations": [
            {"integration-name": integration, "external-doc-url": "https://manager.likepion.com", "tags": ["service"]}
        ],
        "hooks": [{"integration-name": integration, "python-modules": ["likepion_provider.hooks.likepion"]}],
        "operators": [
            {
                "integration-name": integration,
                "python-modules": [f"likepion_provider.operators.{name}" for name in ("likepion", "assist", "report")],
            }
        ],
        "sensors": [{"integration-name": integration, "python-modules": ["likepion_provider.sensors.likepion"]}],
        "triggers": [{"integration-name": integration, "python-modules": ["likepion_provider.triggers.likepion"]}],
        "extra-links": [
            f"likepion_provider.operators.extra_links.Likepion{name}Link" for name in ("Board", "Feed", "Show")
        ],
        "connection-types": [
            {
                "connection-type": "likepion",
                "hook-class-name": "likepion_provider.hooks.likepion.LikepionHook",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "login", "port"],
                    "relabeling": {"password": "API key", "host": "Manager's address"},
                    "placeholders": {
                        "host": "https://manager.likepion.com",
                        "password": "sent as the header X-API-Key, shown nowhere",
                    },
                },
                "conn-fields": {
                    "timeout_s": {
                        "label": "Timeout (seconds)",
                        "description": "For one call to the manager; 0.1 to 600, 60 where empty.",
                        "schema": {"type": ["number", "null"], "minimum": 0.1, "maximum": 600, "default": 60},
                    },
                    "allow_private_feeds": {
                        "label": "Allow private feeds",
                        "description": "Read feeds from private and loopback addresses; leave it off but for tests.",
                        "schema": {"type": ["boolean", "null"], "default": False},
                    },
                },
            }
        ],
        "config": {
            "likepion": {
                "description": "The Likepion provider.",
                "options": {
                    "schedule_minutes": {
                        "description": "The DAG likepion_podcast_secondary runs this often; 0: only by hand.",
                        "version_added": "0.1.0",
                        "type": "integer",
                        "example": None,
                        "default": "5",
                    },
                    "pool": {
                        "description": "The DAG's imports take their slots from this pool, which must exist.",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "likepion",
                        "default": "default_pool",
                    },
                    "language": {
                        "description": (
                            "What reports, Required actions, the DAG's form and the command 'likepion' are written "
                            "in: en or vi. The board goes by the browser."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "vi",
                        "default": "en",
                    },
                    "recipes_folder": {
                        "description": "Where recipes are; empty: likepion_recipes under AIRFLOW_HOME.",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "/opt/airflow/recipes",
                        "default": "",
                    },
                    "report_failures": {
                        "description": (
                            "Report an account that is set aside to the manager, once, with status failed and a note. "
                            "The manager then does not hand it out again for that post."
                        ),
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": None,
                        "default": "False",
                    },
                    "failure_link": {
                        "description": (
                            "The link_post of such a report, which the manager asks for; it may have the fields "
                            "{link_rss}, {website}, {domain}, {account_id}, {request_id} and {group_id}."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "{link_rss}",
                        "default": "",
                    },
                    "url_once_per": {
                        "description": (
                            "post: each post gets every episode of its feed once. account: what was reported for an "
                            "account under another post, the same episode or the same URL, is not reported again."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "account",
                        "default": "post",
                    },
                    "notifier": {
                        "description": (
                            "The import path of a notifier that is called when a run's report is red; "
                            "likepion_provider.notifications.likepion.REPORT_TEXT is its text."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "my_company.alerts.likepion_notifier",
                        "default": None,
                    },
                },
            }
        },
    }
