# Three images from one file:
#   service    API, workers, migrations and command line; no torch
#   inference  the embedded inference server with torch and the small model
#   training   workers that train, and the command `python -m training`

FROM python:3.11-slim AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# The same number everywhere, so that a volume written by one release can be read by the next.
RUN useradd --uid 10001 --create-home icm


FROM base AS build
RUN python -m venv /opt/icm
ENV PATH=/opt/icm/bin:$PATH
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./


FROM build AS build-service
COPY service service
COPY api api
COPY workers workers
COPY migrations migrations
COPY icm icm
RUN --mount=type=cache,target=/root/.cache/pip pip install --constraint constraints.txt '.[telemetry]'


FROM build AS build-inference
# Wheels built for the CPU. For a GPU, build with --build-arg TORCH_INDEX=cu128, or whichever suits the driver.
ARG TORCH_INDEX=cpu
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt --index-url "https://download.pytorch.org/whl/${TORCH_INDEX}" torch
COPY inference inference
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt accelerate gguf safetensors tokenizers transformers '.[server]'


FROM build AS build-training
ARG TORCH_INDEX=cpu
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt --index-url "https://download.pytorch.org/whl/${TORCH_INDEX}" torch
COPY service service
COPY workers workers
COPY inference inference
COPY training training
RUN --mount=type=cache,target=/root/.cache/pip pip install --constraint constraints.txt '.[telemetry,training]'


FROM base AS service
COPY --from=build-service /opt/icm /opt/icm
# Made here, so that the volume mounted over it belongs to the user.
RUN install --directory --owner=icm --group=icm /home/icm/data
ENV PATH=/opt/icm/bin:$PATH
USER icm
WORKDIR /home/icm
EXPOSE 8000
CMD ["python", "-m", "api"]


FROM base AS inference
COPY --from=build-inference /opt/icm /opt/icm
# Made here, so that the volume mounted over it belongs to the user.
RUN install --directory --owner=icm --group=icm /home/icm/.cache/huggingface
ENV PATH=/opt/icm/bin:$PATH
USER icm
WORKDIR /home/icm
EXPOSE 8080
CMD ["python", "-m", "inference", "--host=0.0.0.0", "--port=8080"]


FROM base AS training
COPY --from=build-training /opt/icm /opt/icm
RUN install --directory --owner=icm --group=icm /home/icm/data /home/icm/.cache/huggingface
ENV PATH=/opt/icm/bin:$PATH
USER icm
WORKDIR /home/icm
CMD ["python", "-m", "workers", "--kinds", "train"]
