# The registry: an MLflow server with basic authentication on PostgreSQL.
# `make build` makes it; docker/registry/entrypoint.py says how it is set up.
ARG BASE_IMAGE=python:3.11.15-slim-bookworm

FROM ${BASE_IMAGE} AS libraries
WORKDIR /build
COPY conf/constraints.txt ./
# The installer stays outside. Byte code that does not look at times: builders round them.
RUN --mount=type=cache,target=/root/.cache \
    python3 -m venv /opt/installer \
    && python3 -m venv --without-pip /opt/venv \
    && /opt/installer/bin/pip install --constraint constraints.txt uv \
    && /opt/installer/bin/uv pip install --python /opt/venv/bin/python --link-mode copy \
        --constraint constraints.txt 'mlflow[auth]' psycopg2-binary \
    && find /opt/venv -name tests -type d -prune -exec rm -r {} + \
    && /opt/venv/bin/python -m compileall -q -f -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

FROM ${BASE_IMAGE}
ARG VERSION=0
LABEL org.opencontainers.image.title="OpinionLens registry" \
    org.opencontainers.image.description="MLflow server with basic authentication on PostgreSQL" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}"
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    MLFLOW_HOST=0.0.0.0 \
    MLFLOW_ARTIFACTS_DESTINATION=/var/lib/mlflow
COPY --from=libraries /opt/venv /opt/venv

# Any user may run it who is in group 0: that is who may write artifacts.
WORKDIR /var/lib/mlflow
RUN chmod 775 .
COPY docker/registry/entrypoint.py /usr/local/lib/registry/
USER 10001:0

EXPOSE 5000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.getenv('MLFLOW_PORT', '5000') + '/health', timeout=4)"]
ENTRYPOINT ["python", "/usr/local/lib/registry/entrypoint.py"]
