"""The command line: one module a command, each a thin skin over a function of the library.

Commands are imported when they are called, so that `run` and `flash` work on a device that has no compiler.
"""

from __future__ import annotations

import sys
import traceback
from importlib import import_module

import click

import edge_ad
from edge_ad.errors import EdgeAdError

_COMMANDS = {
    "fit": "Fit a detector on normal data: images, LiDAR scans or series.",
    "import": "Make a model folder of a network that was fitted elsewhere (ONNX).",
    "prune": "Remove channels from a fitted detector, and teach it again what it knew.",
    "compile": "Compile a fitted detector for one or more targets, into one bundle.",
    "sweep": "Measure many forms of a detector, and pick by a budget and a tolerance.",
    "keygen": "Make a pair of keys to sign bundles with.",
    "sign": "Sign a bundle, so that devices can refuse any other.",
    "inspect": "Show what is in a bundle: thresholds, drift, budget, decisions.",
    "flash": "Put a bundle on a device; it goes live once it has proved itself there.",
    "run": "Watch a camera, video, images, scans or series and report anomalies.",
    "board": "Have a microcontroller judge by itself: watch, stop, threshold, statistics, feed.",
    "bridge": "Carry the events of microcontrollers on serial lines to MQTT.",
    "mlperf": "Drive any board that speaks MLPerf Tiny's text: performance, accuracy.",
    "infer": "Raw network outputs and scores of a payload, for rigs and sceptics.",
    "verify": "Run a bundle's golden vectors on this machine.",
    "rig": "Hold devices to what must hold: parity, budgets, faults, power cuts.",
    "bench": "Time every payload of a bundle that this machine can run, side by side.",
    "targets": "List the targets and what they can do.",
    "demo": "The whole way on generated parts: fit, compile, flash, run.",
}


# Called by other machines, not by people.
_HIDDEN = ("receive",)


class _LazyGroup(click.Group):
    """A group that imports `edge_ad.cli.<name>_command` when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS and cmd_name not in _HIDDEN:
            return None
        command: click.Command = import_module(f"edge_ad.cli.{cmd_name}_command").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(edge_ad.__version__, prog_name="edge-ad")
@click.option("--debug", is_flag=True, envvar="EDGE_AD_DEBUG", help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Put a fitted anomaly detector on a device.

    fit, compile, flash, run: the network is quantized, its threshold re-calibrated for the compiled form, and
    the device proves on golden vectors that it agrees with the host before anything goes live.

    Exit codes: 0 done, 1 run-time error, 2 usage, 3 quality gate failed, 4 parity failed.
    """


def main(args: list[str] | None = None) -> None:
    """Entry point of the `edge-ad` command."""
    args = sys.argv[1:] if args is None else args
    try:
        cli.main(args, prog_name="edge-ad", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except EdgeAdError as error:
        if "--debug" in args:
            traceback.print_exc()
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        if "--debug" in args:
            traceback.print_exc()
        click.echo(
            f"error: this command needs the package '{error.name}'; pip install 'edge-ad[compile]'", err=True
        )
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output, e.g. `head`, has gone
        sys.stderr.close()
        sys.exit(1)
