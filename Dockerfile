# syntax=docker/dockerfile:1
# docker build -t chatbot-exporter .
# docker buildx build --platform linux/amd64,linux/arm64 -t REGISTRY/chatbot-exporter:VERSION --push .
#
# BASE is the Python that the tests run on. Give a digest to build the same bytes again:
# --build-arg BASE=python@sha256:…
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1
COPY scripts/install scripts/
COPY requirements/run.txt requirements/build.txt requirements/
RUN scripts/install libraries /opt/chatbot-exporter
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
RUN scripts/install exporter /opt/chatbot-exporter

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="chatbot-exporter" \
      org.opencontainers.image.description="Prometheus exporter for chatbot analytics: exact counters from delayed, revised, throttled APIs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --system --gid 10877 exporter \
 && useradd --system --uid 10877 --gid exporter --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin exporter \
 && install -d -o exporter -g exporter -m 0700 /var/lib/chatbot-exporter \
 && install -d -o exporter -g exporter -m 0755 /history \
 && install -d -m 0755 /etc/chatbot-exporter
COPY --from=build /opt/chatbot-exporter /opt/chatbot-exporter
COPY deploy/docker/healthcheck.py /opt/chatbot-exporter/healthcheck.py
ENV PATH=/opt/chatbot-exporter/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    CHATBOT_EXPORTER_REVISION=${REVISION}
# A number, so that Kubernetes can see that it is not root.
USER 10877:10877
# Temporary files go here where the root file system is read-only and /tmp is not mounted.
WORKDIR /var/lib/chatbot-exporter
VOLUME ["/var/lib/chatbot-exporter"]
EXPOSE 10877
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s --retries=3 \
    CMD ["python", "-I", "/opt/chatbot-exporter/healthcheck.py"]
ENTRYPOINT ["chatbot-exporter"]
CMD ["run", "--config", "/etc/chatbot-exporter/exporter.yaml", "--listen", "0.0.0.0:10877"]
