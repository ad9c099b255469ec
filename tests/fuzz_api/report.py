"""Which operations answered 2xx, and the last line of the run, which ops/dev/fuzz_api.sh judges."""

import os

from schemathesis import cli, engine


@cli.handler()
class Count(cli.EventHandler):
    """Counts along, and writes the summary to the file that SUMMARY names."""

    def __init__(self, *args, **params):
        self.operations: set[str] = set()
        self.reached: set[str] = set()

    def handle_event(self, ctx, event) -> None:
        if isinstance(event, engine.events.ScenarioFinished):
            self.count(event)

    def count(self, event) -> None:
        for case_id, node in event.recorder.cases.items():
            label = node.value.operation.label
            self.operations.add(label)
            interaction = event.recorder.interactions.get(case_id)
            answer = interaction.response if interaction else None
            if answer is not None and 200 <= answer.status_code < 300:
                self.reached.add(label)

    def shutdown(self, ctx) -> None:
        statistic = ctx.statistic
        failures = statistic.total_failures + len(ctx.errors)
        missed = sorted(self.operations - self.reached)
        lines = [f"fuzz-api: no 2xx from {label}" for label in missed]
        lines.append(
            f"fuzz-api: operations={len(self.operations)} cases={statistic.total_cases} "
            f"reached_2xx={len(self.reached)} failures={failures}"
        )
        with open(os.environ["SUMMARY"], "w", encoding="utf-8") as summary:
            summary.write("\n".join(lines) + "\n")
