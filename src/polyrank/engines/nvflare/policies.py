"""What NVFlare may do at each host: written into every kit, stricter than NVFlare's defaults.

A job brings no code, and may use no classes but PolyRank's own and the log streamer that NVFlare
puts into every job. Both rules are needed: a job with code of its own skips the list of classes.
"""

from collections.abc import Mapping
from typing import Any

SITE_CLASS = "polyrank.engines.nvflare.executor.SiteExecutor"
SERVER_CLASS = "polyrank.engines.nvflare.controller.RunController"
_STREAMER = "nvflare.app_common.logging.job_log_streamer.JobLogStreamer"
_RECEIVER = "nvflare.app_common.logging.job_log_receiver.JobLogReceiver"

HEARTBEAT_LIMIT = 30  # seconds of silence after which a host counts as lost; a short cut is none

AUTHORIZATION: Mapping[str, Any] = {
    "format_version": "1.0",
    "permissions": {
        "project_admin": {
            "submit_job": "any",
            "clone_job": "none",
            "manage_job": "any",
            "download_job": "none",
            "view": "any",
            "operate": "any",
            "app_command": "any",
            "shell_commands": "none",
            "byoc": "none",
        }
    },
}


def site_resources() -> dict[str, Any]:
    """Return what a client's host runs beside its jobs, and what a job may name."""
    return {
        "format_version": 2,
        "class_list_enforcement_mode": "enforce",
        "class_allow_list": [SITE_CLASS, _STREAMER],
        "allow_log_streaming": False,
        "client": {"retry_timeout": 30, "compression": "None"},
        "components": [
            _component(
                "resource_manager",
                "resource_managers.list_resource_manager.ListResourceManager",
                resources={},
            ),
            _component(
                "process_launcher", "job_launcher.client_process_launcher.ClientProcessJobLauncher"
            ),
        ],
    }


def server_resources(jobs: str) -> dict[str, Any]:
    """Return what the server's host runs beside its jobs, and what a job may name.

    Args:
        jobs: folder for submitted jobs, as an absolute path.
    """
    return {
        "format_version": 2,
        "class_list_enforcement_mode": "enforce",
        "class_allow_list": [SERVER_CLASS, _RECEIVER],
        "servers": [
            {
                "admin_storage": "transfer",
                "max_num_clients": 1000,
                "heart_beat_timeout": HEARTBEAT_LIMIT,
                "admin_timeout": 10.0,
            }
        ],
        "components": [
            _component(
                "job_scheduler",
                "job_schedulers.job_scheduler.DefaultJobScheduler",
                max_jobs=1,
                min_schedule_interval=1.0,
            ),
            {
                "id": "job_manager",
                "path": "nvflare.apis.impl.job_def_manager.SimpleJobDefManager",
                "args": {"uri_root": jobs, "job_store_id": "job_store"},
            },
            _component("job_store", "storages.filesystem_storage.FilesystemStorage"),
            _component(
                "process_launcher", "job_launcher.server_process_launcher.ServerProcessJobLauncher"
            ),
            _component("log_receiver", "logging.job_log_receiver.JobLogReceiver"),
        ],
    }


def _component(id: str, path: str, **args: object) -> dict[str, Any]:
    return {"id": id, "path": f"nvflare.app_common.{path}", "args": args}
