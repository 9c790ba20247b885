FROM python:3.11-slim

# git and ssh clone the repositories of sessions; everything else is Python wheels.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git openssh-client \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /srv/ambient-public-api

COPY requirements.lock .
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action ignore --no-deps --only-binary :all: -r requirements.lock

COPY LICENSE .
COPY openapi openapi
COPY handlers handlers
COPY app app

# The user owns the data and may only read the rest, so byte code has to be there before.
RUN python -m compileall -q app handlers \
    && chmod -R a+rX . \
    && useradd --uid 10001 --create-home ambient \
    && install --directory --owner ambient --group ambient --mode 700 /data
USER 10001

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    DATA_DIR=/data
VOLUME /data
EXPOSE 8081

HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:' + (os.environ.get('PORT') or '8081') + '/health', timeout=2)"]

CMD ["python", "-m", "app", "serve"]
