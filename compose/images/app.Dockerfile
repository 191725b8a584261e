# The model service alone: its own locked dependencies, no shipper. Build from the root of the checkout.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
COPY compose/locks/app.txt /tmp/app.txt
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --no-compile --require-hashes -r /tmp/app.txt \
 && /opt/venv/bin/pip uninstall --yes --quiet setuptools pip \
 # What libraries carry to test themselves is never imported here.
 && find /opt/venv -type d -name tests -prune -exec rm -rf {} +

FROM ${PYTHON_IMAGE}
# The same user as the shipper's, so that both may use the log volume.
RUN groupadd --gid 10001 ml && useradd --uid 10001 --gid ml --no-create-home --shell /usr/sbin/nologin ml \
 && mkdir -p /srv /var/log/ml-pipeline /var/lib/ml-pipeline \
 && chown ml:ml /var/log/ml-pipeline /var/lib/ml-pipeline
COPY --from=build /opt/venv /opt/venv
COPY app /srv/app
WORKDIR /srv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    APP_HOST=0.0.0.0 APP_PORT=5000 APP_TRUST_NETWORK=true \
    APP_LOG_DIR=/var/log/ml-pipeline APP_MODEL_DIR=/var/lib/ml-pipeline/models APP_STATE_DIR=/var/lib/ml-pipeline/app
USER ml
EXPOSE 5000
# The model is trained at the first start, in seconds, into the volume: an image carries no model that nobody chose.
CMD ["sh", "-c", "python -m app train --if-missing && exec python -m app serve"]
