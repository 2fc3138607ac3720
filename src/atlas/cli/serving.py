"""The command that offers an environment to other programs."""

from __future__ import annotations

from atlas.cli.app import Environment, Settings, app, read_config
from atlas.cli.closing_lines import say


@app.command()
def serve(settings: Settings = None, env: Environment = None) -> None:
    """Serve an environment to OpenEnv clients, until Ctrl-C."""
    from atlas.serving.serve_environment import ServeConfig, serve_environment

    config = read_config(ServeConfig, settings, environment=env)

    def announce(address: str) -> None:
        what = f"{config.environment.name}, split {config.split}, {config.tasks:,} tasks"
        say(f"serving:   {what}, at {address} (websocket /ws). Ctrl-C stops it.")
        if config.host not in ("127.0.0.1", "localhost", "::1"):
            say(f"open:      every machine that reaches {config.host} can play.")

    serve_environment(config, announce)
    say("stopped:   all sessions are closed.")
