"""Holds an export of a log against the schema that others publish. Says how much was valid; exits 1 with what is not.

    validate.py DIR ocsf|otlp FILE        DIR is what tests/reading/fetch has made
"""

import base64
import json
import sys

PACKAGES, FORMAT, FILE = sys.argv[1:]
sys.path.insert(0, PACKAGES + "/packages")


def ocsf(lines):
    import jsonschema
    from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.8.0"))
    validators, bad = {}, []
    for number, event in enumerate(lines):
        uid = event["class_uid"]
        if uid not in validators:
            name = schema.lookup_class_name_from_uid(uid)
            one = schema.get_class_schema(name, event["metadata"]["profiles"])
            jsonschema.Draft202012Validator.check_schema(one)
            validators[uid] = jsonschema.Draft202012Validator(one)
        for error in validators[uid].iter_errors(event):
            bad.append(f"event {number} class {uid}: {'/'.join(map(str, error.absolute_path))}: {error.message[:200]}")
        if event["type_uid"] != uid * 100 + event["activity_id"]:
            bad.append(f"event {number}: type_uid")
    # The schema must be able to say no.
    broken = dict(lines[0], severity_id="high")
    if not list(validators[broken["class_uid"]].iter_errors(broken)):
        bad.append("the schema takes anything")
    return bad, f"{len(lines)} events of OCSF 1.8.0 are valid, {len(validators)} classes"


def ids(value):
    """OTLP writes trace and span ids in hexadecimal where protocol buffers' own JSON has base64."""
    if isinstance(value, dict):
        return {
            key: base64.b64encode(bytes.fromhex(inner)).decode() if key in ("traceId", "spanId", "parentSpanId") else ids(inner)
            for key, inner in value.items()
        }
    return [ids(inner) for inner in value] if isinstance(value, list) else value


def otlp(lines):
    from google.protobuf import json_format
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    bad, spans, logs = [], [], []
    for line in lines:
        kind = ExportTraceServiceRequest if "resourceSpans" in line else ExportLogsServiceRequest
        request = json_format.ParseDict(ids(line), kind(), ignore_unknown_fields=False)
        for resource in getattr(request, "resource_spans", []):
            spans += [span for scope in resource.scope_spans for span in scope.spans]
        for resource in getattr(request, "resource_logs", []):
            logs += [log for scope in resource.scope_logs for log in scope.log_records]
    known = {span.span_id for span in spans}
    if len(known) != len(spans):
        bad.append("two spans have one id")
    for span in spans:
        if len(span.trace_id) != 16 or len(span.span_id) != 8 or not any(span.span_id):
            bad.append(f"span {span.name}: ids")
        if span.parent_span_id and span.parent_span_id not in known:
            bad.append(f"span {span.name}: no such parent")
        if span.end_time_unix_nano < span.start_time_unix_nano:
            bad.append(f"span {span.name}: ends before it starts")
    for log in logs:
        if log.span_id not in known or not 1 <= log.severity_number <= 24 or not log.event_name:
            bad.append(f"log {log.event_name}: span, severity or name")
    return bad, f"{len(spans)} spans and {len(logs)} logs are valid"


found, said = {"ocsf": ocsf, "otlp": otlp}[FORMAT]([json.loads(line) for line in open(FILE, encoding="utf-8")])
print("\n".join(found[:40]) or said)
sys.exit(1 if found else 0)
