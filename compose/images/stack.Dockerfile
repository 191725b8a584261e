# What sets the stack up and sends it traffic: `ml-stack`. Build from the root of the checkout.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
COPY compose/locks/stack.txt /tmp/stack.txt
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --no-compile --require-hashes -r /tmp/stack.txt \
 && /opt/venv/bin/pip uninstall --yes --quiet setuptools pip \
 # What libraries carry to test themselves is never imported here.
 && find /opt/venv -type d -name tests -prune -exec rm -rf {} +

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 ml && useradd --uid 10001 --gid ml --no-create-home --shell /usr/sbin/nologin ml \
 # A volume that is first mounted here takes over these rights: the model service's user may then write it.
 && mkdir -p /volumes/model /volumes/prometheus /var/lib/ml-stack /var/lib/ml-keys \
 && chown ml:ml /volumes/model /var/lib/ml-stack /var/lib/ml-keys && chown 65534:65534 /volumes/prometheus \
 && chmod 0700 /var/lib/ml-stack /var/lib/ml-keys
COPY --from=build /opt/venv /opt/venv
COPY index_templates /srv/index_templates
COPY compose/*.py /srv/compose/
COPY compose/provision /srv/compose/provision
COPY compose/stack /srv/compose/stack
WORKDIR /srv
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/srv PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER ml
ENTRYPOINT ["python", "-m", "compose.stack"]
