# What sets the stack up and sends it traffic: `ml-stack`. Build from the root of the checkout.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
COPY compose/locks/runtime.txt /tmp/runtime.txt
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --no-compile --require-hashes -r /tmp/runtime.txt \
 && /opt/venv/bin/pip uninstall --yes pip setuptools 2>/dev/null || true

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 ml && useradd --uid 10001 --gid ml --no-create-home --shell /usr/sbin/nologin ml
COPY --from=build /opt/venv /opt/venv
COPY index_templates /srv/index_templates
COPY compose /srv/compose
WORKDIR /srv
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/srv PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER ml
ENTRYPOINT ["python", "-m", "compose.stack"]
