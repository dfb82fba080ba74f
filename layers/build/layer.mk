# `sam build` runs this for both layers, here, with ARTIFACTS_DIR set. It tells make neither the runtime nor the
# architecture, so each pair has a Makefile of its own, which the template names by its parameters.

.PHONY: build-SharedLayer build-ImagingLayer
build-SharedLayer: folder = shared
build-ImagingLayer: folder = imaging
build-SharedLayer build-ImagingLayer:
	@command -v $(RUNTIME) >/dev/null || { echo "$(RUNTIME) is not on PATH: the layers are compiled with the interpreter\
	 of the template's PythonRuntime. Install it, or build for another one." >&2; exit 1; }
	@$(RUNTIME) build.py $(folder) $(ARCHITECTURE) "$(ARTIFACTS_DIR)/python"
