# The service: `olens serve` with the base model, without compiler and training stack.
# `make build` makes it; the base may be any Debian with Python 3.11.
ARG BASE_IMAGE=python:3.11.15-slim-bookworm

FROM ${BASE_IMAGE} AS requirements
COPY pyproject.toml /
RUN python3 -c 'import tomllib; p = tomllib.load(open("/pyproject.toml", "rb"))["project"]; print(*p["dependencies"], *p["optional-dependencies"]["postgres"], sep="\n")' \
        > /requirements.txt \
    && python3 -c 'import tomllib; print(*tomllib.load(open("/pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
        > /build-requirements.txt

FROM ${BASE_IMAGE} AS libraries
# Old versions leave Debian's mirrors; its release is pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build

# Made anew only when their list changes. The installer stays outside. An index of one's own is
# named in the base, in /etc/pip.conf and /etc/uv/uv.toml.
COPY --from=requirements /requirements.txt ./
COPY conf/constraints.txt ./
RUN --mount=type=cache,target=/root/.cache \
    python3 -m venv /opt/installer \
    && python3 -m venv --without-pip /opt/venv \
    && /opt/installer/bin/pip install --constraint constraints.txt uv \
    && /opt/installer/bin/uv pip install --python /opt/venv/bin/python --link-mode copy \
        --constraint constraints.txt --requirement requirements.txt

# A quarter of their size is symbols, tests and the languages of made-up names. `strip` breaks
# libraries that were patched after linking, as Numba's are, so all others are loaded once.
# Byte code that does not look at times: builders round them.
RUN find /opt/venv -name '*.so' ! -path '*/numba/*' ! -path '*.libs/*' \
        -exec strip --strip-unneeded {} + \
    && find /opt/venv \( -name tests -o -path '*/faker/providers/*/??_*' ! -name en_US \) \
        -type d -prune -exec rm -r {} + \
    && /opt/venv/bin/python -c 'import ctypes, pathlib; [ctypes.CDLL(path) for path in pathlib.Path("/opt/venv").rglob("*.so") if "numba" not in path.parts]' \
    && /opt/venv/bin/python -m compileall -q -f -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

FROM libraries AS project
COPY --from=requirements /build-requirements.txt ./
RUN --mount=type=cache,target=/root/.cache \
    /opt/installer/bin/uv pip install --python /opt/installer/bin/python --link-mode copy \
        --constraint constraints.txt --requirement build-requirements.txt
COPY pyproject.toml README.md LICENSE hatch_build.py opinionlens.py dvc.yaml .dvcignore .env.example .gitignore ./
COPY conf conf
COPY .dvc .dvc
COPY opinionlens_cli opinionlens_cli
COPY opinionlens_server opinionlens_server
COPY pipelines pipelines
RUN /opt/installer/bin/hatchling build --target wheel --directory /wheel \
    && /opt/installer/bin/uv pip install --python /opt/venv/bin/python --link-mode copy --no-deps \
        --prefix /project /wheel/*.whl \
    && /opt/venv/bin/python -m compileall -q -f -j 0 --invalidation-mode unchecked-hash \
        -s /project -p /opt/venv /project/lib

FROM ${BASE_IMAGE}
ARG VERSION=0
LABEL org.opencontainers.image.title="OpinionLens" \
    org.opencontainers.image.description="Sentiment verdicts with their reasons: web page and JSON API" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}"

# The n-gram code is compiled for every processor of the architecture, which costs no measurable
# time, so what is compiled here is valid wherever the image runs.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    OLENS_ENV=prod \
    OLENS_ROOT=/srv/opinionlens \
    NUMBA_CPU_NAME=generic \
    NUMBA_CACHE_DIR=/tmp/compiled
COPY --from=libraries /opt/venv /opt/venv
COPY --from=project /project /opt/venv
RUN NUMBA_CACHE_DIR=/opt/compiled \
    python -c 'from pipelines.workflows.doctor import warm_up; warm_up()'

# Any user may run it who is in group 0: that is who may write to the model cache, to the
# corrections and to the labels.
WORKDIR /srv/opinionlens
RUN install --directory --mode=775 models feedback labels
COPY conf/settings.toml conf/params.yaml conf/
COPY --chmod=755 docker/app/entrypoint.sh /usr/local/bin/
USER 10001:0

EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.getenv('OLENS_SERVING__PORT', '8000') + '/health/ready', timeout=4)"]
ENTRYPOINT ["entrypoint.sh"]
CMD ["olens", "serve"]
