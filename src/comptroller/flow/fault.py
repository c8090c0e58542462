"""What may be said of a fault of ours: its kind and its place. Its message could hold a value, and a value a secret."""

from __future__ import annotations


def fault_facts(error: BaseException) -> dict[str, str]:
    """Kind, file and line of where it was raised, by the names of OpenTelemetry."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    kind = {"exception.type": type(error).__name__}
    if trace is None:
        return kind
    return {**kind, "code.file.path": trace.tb_frame.f_code.co_filename, "code.line.number": str(trace.tb_lineno)}
