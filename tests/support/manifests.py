"""Validates objects of Kubernetes strictly, and proves that it can fail.

    manifests.py check < texts.json      {name: text} -> {name: [problem, ...]}
    manifests.py mutants < texts.json    {name: text} -> {mutant: [problem, ...]}, each for a text that was made wrong

Kinds of Kubernetes itself, and all that is below a template of pods, are compared with the strict schemas of the package
`kubernetes-validate`. The fields of the three other kinds are listed here by hand: those that dsr1 writes, and no others.
What no schema says (what webhooks, CEL rules and controllers refuse or break on) is in `rules`.
"""
import copy
import json
import re
import sys

import importlib_resources
import jsonschema
import kubernetes_validate
import yaml
from referencing import Registry, Resource

# The oldest with ResourceClaims in resource.k8s.io/v1, and the newest of the package.
VERSIONS = ["1.34", "1.37"]
GROUP = "leaderworkerset.sigs.k8s.io/"
SET = "disaggregatedset.x-k8s.io/"


def fields(required="", **properties):
    return {"type": "object", "properties": properties, "required": required.split(), "additionalProperties": False}


def one_of(*values):
    return {"enum": list(values)}


TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
SIZE = {"type": "integer", "minimum": 1}
TEXTS = {"type": "object", "additionalProperties": TEXT}
NAME = {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
POD = {"$ref": "file:///api/podtemplatespec-v1.json"}
METADATA = fields("name namespace", name=NAME, namespace=NAME, labels=TEXTS, annotations=TEXTS)
ENGINES = fields(
    "replicas startupPolicy rolloutStrategy leaderWorkerTemplate",
    replicas=SIZE,
    startupPolicy=one_of("LeaderCreated", "LeaderReady"),
    rolloutStrategy=fields(
        "type rollingUpdateConfiguration",
        type=one_of("RollingUpdate"),
        rollingUpdateConfiguration=fields("", partition=COUNT, maxSurge=COUNT, maxUnavailable=COUNT),
    ),
    leaderWorkerTemplate=fields(
        "size restartPolicy workerTemplate",
        size=SIZE,
        restartPolicy=one_of("RecreateGroupOnPodRestart", "RecreateGroupAfterStart", "None"),
        leaderTemplate=POD,
        workerTemplate=POD,
    ),
)
PLACEMENT = fields("type", type=one_of("None", "ExclusiveSlice", "ExclusiveTopology"), topology=TEXT)
ROLE = fields("name spec", name=NAME, spec=ENGINES)
ROLES = {"type": "array", "minItems": 2, "maxItems": 10, "items": ROLE}
DOMAIN = fields(
    "numNodes channel",
    numNodes=COUNT,
    channel=fields("resourceClaimTemplate", resourceClaimTemplate=fields("name", name=NAME)),
)


def kind(version, name, spec):
    schema = fields(
        "apiVersion kind metadata spec",
        apiVersion=one_of(version),
        kind=one_of(name),
        metadata=METADATA,
        spec=spec,
    )
    return (version, name), schema


OURS = dict(
    [
        kind("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", ENGINES),
        kind(
            "disaggregatedset.x-k8s.io/v1",
            "DisaggregatedSet",
            fields("slices roles", slices=SIZE, placementPolicy=PLACEMENT, roles=ROLES),
        ),
        kind("resource.nvidia.com/v1beta1", "ComputeDomain", DOMAIN),
    ]
)


def registry(version):
    folder = importlib_resources.files("kubernetes_validate").joinpath(
        f"kubernetes-json-schema/v{version}.0-local-strict"
    )
    pairs = []
    for name in "podtemplatespec-v1.json", "_definitions.json":
        schema = json.loads(folder.joinpath(name).read_text())
        schema["$id"] = f"file:///api/{name}"
        pairs.append((schema["$id"], Resource.from_contents(schema)))
    return Registry().with_resources(pairs)


REGISTRIES = {version: registry(version) for version in VERSIONS}


def by_schema(document):
    found = []
    key = (document.get("apiVersion"), document.get("kind"))
    for version in VERSIONS:
        if key in OURS:
            validator = jsonschema.Draft202012Validator(OURS[key], registry=REGISTRIES[version])
            for error in validator.iter_errors(document):
                path = "/".join(map(str, error.absolute_path))
                found.append(f"{version}: {path}: {error.message[:160]}")
        else:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except Exception as error:
                found.append(f"{version}: {getattr(error, 'message', error)}"[:300])
    return found


def of_pod(where, template, claim_templates, found):
    spec = template["spec"]
    claims = {claim["name"] for claim in spec.get("resourceClaims", [])}
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    for claim in spec.get("resourceClaims", []):
        if claim.get("resourceClaimTemplateName") not in claim_templates:
            found.append(f"{where}: no ComputeDomain makes the template of a claim")
    if bool(claims) != bool(claim_templates) and "/router" not in where:
        found.append(f"{where}: there is a ComputeDomain if and only if the engines claim it")
    if spec.get("securityContext", {}).get("seccompProfile") != {"type": "RuntimeDefault"}:
        found.append(f"{where}: no seccomp profile")
    for host in "hostNetwork", "hostIPC", "hostPID":
        if spec.get(host):
            found.append(f"{where}: {host}")
    for container in spec["containers"]:
        resources = container.get("resources", {})
        if {claim["name"] for claim in resources.get("claims", [])} != claims:
            found.append(f"{where}: the container claims something else than the pod")
        if {mount["name"] for mount in container.get("volumeMounts", [])} != volumes:
            found.append(f"{where}: mounts and volumes differ")
        if any(m["mountPath"] in ("/models", "/model") and not m.get("readOnly") for m in container.get("volumeMounts", [])):
            found.append(f"{where}: the weights can be written")
        ports = {port.get("name"): port["containerPort"] for port in container.get("ports", [])}
        if any(not 0 < port < 65536 for port in ports.values()):
            found.append(f"{where}: a port that is none")
        for name in "startupProbe", "readinessProbe", "livenessProbe":
            if container.get(name, {}).get("httpGet", {}).get("port") not in ports:
                found.append(f"{where}: {name} on an unknown port")
        names = [variable["name"] for variable in container.get("env", [])]
        if len(names) != len(set(names)):
            found.append(f"{where}: a variable twice")
        known = set(names) | {"LWS_LEADER_ADDRESS", "LWS_GROUP_SIZE", "LWS_WORKER_INDEX"}
        for word in container.get("command", []) + container.get("args", []):
            unknown = set(re.findall(r"\$\((\w+)\)", word.replace("$$", ""))) - known
            if unknown:
                found.append(f"{where}: an unknown variable {unknown}")
        for part in "requests", "limits":
            for amount in resources.get(part, {}).values():
                if not re.fullmatch(r"[0-9]+(\.[0-9]+)?(m|[kMGTPE]i?)?", str(amount)):
                    found.append(f"{where}: the quantity {amount}")
        security = container.get("securityContext", {})
        capabilities = security.get("capabilities", {})
        has_rdma = any(name.startswith("rdma/") for name in resources.get("limits", {}))
        if security.get("privileged") or security.get("allowPrivilegeEscalation") is not False:
            found.append(f"{where}: privileges")
        if capabilities.get("drop") != ["ALL"]:
            found.append(f"{where}: capabilities are kept")
        if capabilities.get("add", []) != (["IPC_LOCK"] if has_rdma else []):
            found.append(f"{where}: IPC_LOCK if and only if there is RDMA, and no other")
        startup = container.get("startupProbe", {})
        if "/router" not in where and startup.get("failureThreshold", 3) * startup.get("periodSeconds", 10) < 7200:
            found.append(f"{where}: a slow start is killed")
        sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if sleep >= spec.get("terminationGracePeriodSeconds", 30):
            found.append(f"{where}: the pod is killed before its processes are asked to end")


def of_engines(where, spec, in_set, claim_templates, found):
    template = spec["leaderWorkerTemplate"]
    update = spec["rolloutStrategy"]["rollingUpdateConfiguration"]
    if update.get("maxSurge", 0) == 0 and update.get("maxUnavailable", 1) == 0:
        found.append(f"{where}: nothing may be replaced")
    if update.get("maxSurge", 0) != 0:
        found.append(f"{where}: a full rack has no room for a further group")
    if in_set and update.get("partition"):
        found.append(f"{where}: a partition in a DisaggregatedSet")
    if spec["startupPolicy"] == "LeaderReady" and template["size"] > 1:
        found.append(f"{where}: the leader waits for those that wait for it")
    for name in "leaderTemplate", "workerTemplate":
        if name in template:
            of_pod(f"{where}/{name}", template[name], claim_templates, found)
            words = " ".join(template[name]["spec"]["containers"][0].get("args", []))
            nodes = re.search(r"--nnodes (\d+)", words)
            if template["size"] != int(nodes[1] if nodes else 1):
                found.append(f"{where}/{name}: the size of the group is not that of the engine")


def rules(documents):
    found = []
    names = {(document["kind"], document["metadata"]["name"]) for document in documents}
    namespaces = {document["metadata"].get("namespace") for document in documents}
    if len(namespaces) != 1:
        found.append("objects of several namespaces")
    domains = [document["spec"] for document in documents if document["kind"] == "ComputeDomain"]
    if len(domains) > 1:
        found.append("several ComputeDomains")
    if any(domain.get("numNodes") != 0 for domain in domains):
        found.append("a ComputeDomain that waits for a number of nodes")
    templates = {domain["channel"]["resourceClaimTemplate"]["name"] for domain in domains}
    pods = []
    for document in documents:
        name, spec = document["metadata"]["name"], document.get("spec", {})
        if document["kind"] == "LeaderWorkerSet":
            of_engines(name, spec, False, templates, found)
            if len(name) + len(str(spec["replicas"] - 1)) > 51:
                found.append(f"{name}: too long for the names of its pods")
            if ("Service", name) in names:
                found.append(f"{name}: a Service of the name of the headless one of LWS")
            pods.append({GROUP + "name": name, GROUP + "worker-index": "0"})
        if document["kind"] == "DisaggregatedSet":
            placement = spec.get("placementPolicy", {"type": "None"})
            is_placed = placement["type"] != "None"
            if is_placed and not placement.get("topology"):
                found.append(f"{name}: a placement without a topology")
            if len({role["name"] for role in spec["roles"]}) < len(spec["roles"]):
                found.append(f"{name}: a role twice")
            for role in spec["roles"]:
                where = f"{name}/{role['name']}"
                of_engines(where, role["spec"], True, templates, found)
                made = len(name) + len(f"-{spec['slices'] - 1}-12345678-{role['name']}")
                if made + len(str(role["spec"]["replicas"] - 1)) > 51:
                    found.append(f"{where}: too long for the names of its pods")
                for template in ("leaderTemplate", "workerTemplate"):
                    metadata = role["spec"]["leaderWorkerTemplate"].get(template, {}).get("metadata", {})
                    if "app" in metadata.get("labels", {}):
                        found.append(f"{where}: the controller overwrites the label app")
                    annotations = metadata.get("annotations", {})
                    if is_placed and any("exclusive-topology" in key for key in annotations):
                        found.append(f"{where}: two rules of placement")
                pods.append({SET + "name": name, SET + "role": role["name"], GROUP + "worker-index": "0"})
        if document["kind"] == "Deployment":
            of_pod(f"{name}/router", spec["template"], templates, found)
            labels = spec["template"]["metadata"]["labels"]
            pods.append(labels)
            if not spec["selector"]["matchLabels"].items() <= labels.items():
                found.append(f"{name}: the selector does not match the template")
            account = spec["template"]["spec"].get("serviceAccountName")
            if ("ServiceAccount", account) not in names:
                found.append(f"{name}: no such account")
            of_router(name, spec["template"]["spec"]["containers"][0]["args"], pods, found)
        if document["kind"] == "Role":
            allowed = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
            if document["rules"] != allowed:
                found.append(f"{name}: other rights than to read pods")
        if document["kind"] == "RoleBinding":
            if (document["roleRef"]["kind"], document["roleRef"]["name"]) not in names:
                found.append(f"{name}: no such role")
            for subject in document["subjects"]:
                if (subject["kind"], subject["name"]) not in names or {subject.get("namespace")} != namespaces:
                    found.append(f"{name}: no such account")
        if document["kind"] == "Service" and not any(spec["selector"].items() <= labels.items() for labels in pods):
            found.append(f"{name}: it selects no pod")
    return found


def of_router(name, words, pods, found):
    """Each selector finds the leaders of one role."""
    options = [at for at, word in enumerate(words) if word.endswith("selector")]
    for at in options:
        labels = {}
        for word in words[at + 1 :]:
            if word.startswith("--"):
                break
            labels.update([word.split("=", 1)])
        if labels not in pods:
            found.append(f"{name}: {words[at]} finds no leaders")
    if not options:
        found.append(f"{name}: it finds no engines")


def problems(documents):
    found = [f"{d.get('kind')}: {problem}" for d in documents for problem in by_schema(d)]
    try:
        return found + rules(documents)
    except (KeyError, TypeError, AttributeError) as error:
        if found:
            return found  # a schema says why the rules cannot be read
        raise error


def read(text):
    return [document for document in yaml.safe_load_all(text) if document]


def of(documents, name):
    return next(document for document in documents if document["kind"] == name)


def engines(documents):
    return of(documents, "LeaderWorkerSet")["spec"]


def spec(documents):
    return engines(documents)["leaderWorkerTemplate"]["workerTemplate"]["spec"]


def container(documents):
    return spec(documents)["containers"][0]


def role(documents, index=0):
    return of(documents, "DisaggregatedSet")["spec"]["roles"][index]


def template(documents, index=0):
    return role(documents, index)["spec"]["leaderWorkerTemplate"]["workerTemplate"]


def router(documents):
    return of(documents, "Deployment")["spec"]["template"]["spec"]


def update(documents):
    return engines(documents)["rolloutStrategy"]["rollingUpdateConfiguration"]


def placement(documents):
    return of(documents, "DisaggregatedSet")["spec"]["placementPolicy"]


def beside(one):
    one["leaderWorkerTemplate"] = one["spec"].pop("leaderWorkerTemplate")


WIDE, RDMA, RACK = "two-nodes", "two-nodes-rdma", "rack"
MUTANTS = [
    ("an unknown key of a set", WIDE, lambda d: engines(d).update(template={})),
    ("an unknown restart policy", WIDE, lambda d: engines(d)["leaderWorkerTemplate"].update(restartPolicy="Sometimes")),
    ("limit for limits", WIDE, lambda d: container(d)["resources"].update(limit={})),
    ("imagePullPolicys", WIDE, lambda d: container(d).update(imagePullPolicys="Always")),
    ("a variable that is a number", WIDE, lambda d: container(d)["env"][1].update(value=1)),
    ("a probe without a port", WIDE, lambda d: container(d)["startupProbe"]["httpGet"].pop("port")),
    ("a probe of an unknown port", WIDE, lambda d: container(d)["livenessProbe"]["httpGet"].update(port="web")),
    ("replicas as a text", WIDE, lambda d: engines(d).update(replicas="1")),
    ("negative replicas", WIDE, lambda d: engines(d).update(replicas=-1)),
    ("a group of another size", WIDE, lambda d: engines(d)["leaderWorkerTemplate"].update(size=3)),
    ("the quantity 64GB", WIDE, lambda d: container(d)["resources"]["requests"].update(memory="64GB")),
    ("an unknown key of a toleration", WIDE, lambda d: spec(d)["tolerations"][0].update(effekt="x")),
    ("label for labels", WIDE, lambda d: of(d, "LeaderWorkerSet")["metadata"].update(label={})),
    ("no namespace", WIDE, lambda d: of(d, "Service")["metadata"].pop("namespace")),
    ("a Service of the name of the set", WIDE, lambda d: of(d, "Service")["metadata"].update(name="dsr1-wide")),
    ("a Service that selects nothing", WIDE, lambda d: of(d, "Service")["spec"]["selector"].update(x="y")),
    ("nothing may be replaced", WIDE, lambda d: update(d).update(maxUnavailable=0)),
    ("a further group", WIDE, lambda d: update(d).update(maxSurge=1)),
    ("LeaderReady", WIDE, lambda d: engines(d).update(startupPolicy="LeaderReady")),
    ("a mount without a volume", WIDE, lambda d: spec(d)["volumes"].pop()),
    ("weights that can be written", WIDE, lambda d: container(d)["volumeMounts"][1].pop("readOnly")),
    ("a variable twice", WIDE, lambda d: container(d)["env"].append({"name": "HF_HUB_OFFLINE", "value": "0"})),
    ("an unknown variable in a word", WIDE, lambda d: container(d)["args"].append("$(LWS_RANK)")),
    ("a port that is none", WIDE, lambda d: container(d)["ports"][0].update(containerPort=70000)),
    ("privileged", WIDE, lambda d: container(d)["securityContext"].update(privileged=True)),
    ("escalation", WIDE, lambda d: container(d)["securityContext"].pop("allowPrivilegeEscalation")),
    ("capabilities that are kept", WIDE, lambda d: container(d)["securityContext"].pop("capabilities")),
    ("IPC_LOCK without RDMA", WIDE, lambda d: container(d)["securityContext"]["capabilities"].update(add=["IPC_LOCK"])),
    ("RDMA without IPC_LOCK", RDMA, lambda d: container(d)["securityContext"]["capabilities"].pop("add")),
    ("no seccomp profile", WIDE, lambda d: spec(d).pop("securityContext")),
    ("the network of the host", WIDE, lambda d: spec(d).update(hostNetwork=True)),
    ("a short start", WIDE, lambda d: container(d)["startupProbe"].update(failureThreshold=60)),
    ("a sleep beyond the grace", WIDE, lambda d: spec(d).update(terminationGracePeriodSeconds=30)),
    ("a long name", WIDE, lambda d: of(d, "LeaderWorkerSet")["metadata"].update(name="n" * 60)),
    ("a template beside the spec of a role", RACK, lambda d: beside(role(d))),
    ("one role", RACK, lambda d: of(d, "DisaggregatedSet")["spec"]["roles"].pop()),
    ("an unknown placement", RACK, lambda d: placement(d).update(type="Exclusive")),
    ("a placement without a topology", RACK, lambda d: placement(d).pop("topology")),
    (
        "two rules of placement",
        RACK,
        lambda d: template(d)["metadata"].setdefault("annotations", {}).update({GROUP + "exclusive-topology": "x"}),
    ),
    ("a role without replicas", RACK, lambda d: role(d)["spec"].update(replicas=0)),
    ("a role twice", RACK, lambda d: role(d, 1).update(name="prefill")),
    ("a long role", RACK, lambda d: role(d).update(name="p" * 50)),
    ("the label app", RACK, lambda d: template(d)["metadata"]["labels"].update(app="x")),
    ("numNodes as a text", RACK, lambda d: of(d, "ComputeDomain")["spec"].update(numNodes="0")),
    ("numNodes of the rack", RACK, lambda d: of(d, "ComputeDomain")["spec"].update(numNodes=6)),
    ("no numNodes", RACK, lambda d: of(d, "ComputeDomain")["spec"].pop("numNodes")),
    ("a channel with a name", RACK, lambda d: of(d, "ComputeDomain")["spec"]["channel"].update(name="x")),
    ("two ComputeDomains", RACK, lambda d: d.append(copy.deepcopy(of(d, "ComputeDomain")))),
    ("no ComputeDomain", RACK, lambda d: d.remove(of(d, "ComputeDomain"))),
    ("a claim by another key", RACK, lambda d: template(d)["spec"].update(resourceClaims=[{"name": "nvlink-channel", "resourceClaimTemplate": "x"}])),
    ("a claim of another template", RACK, lambda d: template(d)["spec"]["resourceClaims"][0].update(resourceClaimTemplateName="x")),
    ("a claim of a pod alone", RACK, lambda d: template(d)["spec"]["containers"][0]["resources"].pop("claims")),
    ("a claim of a container alone", RACK, lambda d: template(d)["spec"].pop("resourceClaims")),
    ("a Service without a port", RACK, lambda d: of(d, "Service")["spec"]["ports"][0].pop("port")),
    ("verb for verbs", RACK, lambda d: of(d, "Role")["rules"][0].update(verb=[])),
    ("the right to read secrets", RACK, lambda d: of(d, "Role")["rules"][0]["resources"].append("secrets")),
    ("a binding to another role", RACK, lambda d: of(d, "RoleBinding")["roleRef"].update(name="x")),
    ("a binding in another namespace", RACK, lambda d: of(d, "RoleBinding")["subjects"][0].update(namespace="x")),
    ("another account", RACK, lambda d: router(d).update(serviceAccountName="x")),
    ("a selector of other pods", RACK, lambda d: of(d, "Deployment")["spec"]["selector"].update(matchLabels={"a": "b"})),
    ("a router that finds no prefill", RACK, lambda d: router(d)["containers"][0]["args"].remove(SET + "role=prefill")),
]


def main():
    texts = {name: read(text) for name, text in json.load(sys.stdin).items()}
    if sys.argv[1] == "check":
        answer = {name: problems(documents) for name, documents in texts.items()}
    else:
        answer = {}
        for name, source, change in MUTANTS:
            documents = copy.deepcopy(texts[source])
            change(documents)
            answer[name] = problems(documents)
        assert len(answer) == len(MUTANTS), "two mutants of one name"
    json.dump(answer, sys.stdout)


main()
