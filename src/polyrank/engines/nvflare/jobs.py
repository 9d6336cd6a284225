"""The folder of a job, as NVFlare takes it: no code, our two classes, and what is asked."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from polyrank.engines.nvflare.parcels import REQUEST, TASK
from polyrank.engines.nvflare.policies import SERVER_CLASS, SITE_CLASS
from polyrank.engines.nvflare.request import Request

SERVER: Mapping[str, Any] = {
    "format_version": 2,
    "dead_client_grace_period": 5.0,
    "dead_client_check_lead_time": 5.0,
    "server": {"task_request_interval": 0.05},
    "workflows": [{"id": "run", "path": SERVER_CLASS, "args": {}}],
    "components": [],
}
SITE: Mapping[str, Any] = {
    "format_version": 2,
    "default_task_fetch_interval": 0.05,
    "task_check_interval": 0.1,
    "runner_sync_timeout": 2.0,
    "job_heartbeat_interval": 2.0,
    "components": [],
}


def write_job(folder: Path, request: Request) -> None:
    """Write a job for the server and the hosts that are connected."""
    meta = {
        "name": request.run,
        "resource_spec": {},
        "min_clients": 1,
        "deploy_map": {"server": ["server"], "site": list(request.there)},
    }
    _write(folder / "meta.json", meta)
    _write(folder / "server" / "config" / "config_fed_server.json", SERVER)
    _write(folder / "server" / "config" / REQUEST, asdict(request))
    executor = {"path": SITE_CLASS, "args": {"trains": not request.hello}}
    site = {**SITE, "executors": [{"tasks": [TASK], "executor": executor}]}
    _write(folder / "site" / "config" / "config_fed_client.json", site)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2))
