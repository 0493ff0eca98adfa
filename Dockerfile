# cryokin with Snakemake, MPI and all that its rules need, at the locked versions.
#   docker build --tag cryokin .
#   docker run --rm --volume "$PWD:/data" cryokin --profile profiles/local --directory /data --configfile /data/my.yaml
# With Apptainer: apptainer build cryokin.sif docker-daemon://cryokin:latest
FROM python:3.11-slim-bookworm

WORKDIR /opt/cryokin
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir --constraint requirements.lock pip setuptools \
    && pip install --no-cache-dir --no-build-isolation --requirement requirements.lock \
    && pip install --no-cache-dir --no-build-isolation --no-deps --editable .
COPY Snakefile ./
COPY workflow workflow
COPY config config
COPY profiles profiles

ENTRYPOINT ["snakemake"]
CMD ["--help"]
