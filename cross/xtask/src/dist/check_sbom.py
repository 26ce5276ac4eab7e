"""Checks the bill of materials named by the argument: against the official schema of CycloneDX 1.6 with every format it
asks for, and what the schema cannot say: licence expressions, package URLs, references. Prints each fault; exit 1 if any."""

import json
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from license_expression import get_spdx_licensing
from packageurl import PackageURL

text = open(sys.argv[1], encoding="utf-8").read()
faults = [str(fault) for fault in JsonStrictValidator(SchemaVersion.V1_6).validate_str(text, all_errors=True) or []]

bom = json.loads(text)
spdx = get_spdx_licensing()
if bom["specVersion"] != "1.6":
    faults.append(f"the document says it is of version {bom['specVersion']}")
components = [bom["metadata"]["component"], *bom["components"]]
for component in components:
    name = component["name"]
    for licence in component.get("licenses", []):
        faults += [f"{name}: {error}" for error in spdx.validate(licence["expression"]).errors]
    if PackageURL.from_string(component["purl"]).to_string() != component["purl"]:
        faults.append(f"{name}: {component['purl']} is not the canonical form of a package URL")

known = {component["bom-ref"] for component in components}
for dependency in bom["dependencies"]:
    for reference in [dependency["ref"], *dependency["dependsOn"]]:
        if reference not in known:
            faults.append(f"the graph has {reference}, which is not a component")

for fault in faults:
    print(fault)
print(f"{len(components)} components, {len(bom['dependencies'])} of them in the graph, {len(faults)} faults")
sys.exit(1 if faults else 0)
