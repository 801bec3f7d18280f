"""Objects in a store, seen and changed without leadspan. One class for each scheme; `PREFIX` is what its URLs begin with."""

import json
import os
import urllib.error
import urllib.parse
import urllib.request

BUCKET = "caches"


class S3:
    """A server of S3's kind at AWS_ENDPOINT_URL_S3."""

    scheme = "s3"

    def __init__(self):
        self.client = self.service("s3")

    def service(self, name):
        import boto3

        return boto3.client(name, endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"], region_name=os.environ["AWS_REGION"])

    def make(self):
        self.client.create_bucket(Bucket=BUCKET)

    def key(self, *actions):
        """The variables of a new key that may do this."""
        iam, name = self.service("iam"), f"user-{len(actions)}"
        iam.create_user(UserName=name)
        rule = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": rule}))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    def check_keys(self, after):
        """Makes moto check keys and signatures after so many requests."""
        url = os.environ["AWS_ENDPOINT_URL_S3"] + "/moto-api/reset-auth"
        request = urllib.request.Request(url, str(after).encode(), {"Content-Type": "text/plain"}, method="POST")
        urllib.request.urlopen(request).close()

    def list(self, prefix):
        """Size and MD5 (None where the server states none) of each object."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix + "/")
        found = [object for page in pages for object in page.get("Contents", ())]
        md5 = lambda object: None if "-" in object["ETag"] else object["ETag"].strip('"')
        return {object["Key"]: (object["Size"], md5(object)) for object in found}

    def read(self, name):
        return self.client.get_object(Bucket=BUCKET, Key=name)["Body"].read()

    def write(self, name, contents):
        self.client.put_object(Bucket=BUCKET, Key=name, Body=contents)

    def delete(self, name):
        self.client.delete_object(Bucket=BUCKET, Key=name)

    def creates_once(self, name):
        """Whether an object that is there is not created again."""
        from botocore.exceptions import ClientError

        try:
            for _ in range(2):
                self.client.put_object(Bucket=BUCKET, Key=name, Body=b"x", IfNoneMatch="*")
        except ClientError as error:
            return error.response["Error"]["Code"] == "PreconditionFailed"
        return False


class Google:
    """An emulator of Google's store at STORAGE_EMULATOR_HOST."""

    scheme = "gs"

    def call(self, method, path, body=None, **query):
        url = f"{os.environ['STORAGE_EMULATOR_HOST']}{path}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request) as answer:
            return answer.read()

    def path(self, name):
        return f"/storage/v1/b/{BUCKET}/o/{urllib.parse.quote(name, safe='')}"

    def make(self):
        self.call("POST", "/storage/v1/b", json.dumps({"name": BUCKET}).encode(), project="tests")

    def list(self, prefix):
        found, token = {}, None
        while True:
            more = {"pageToken": token} if token else {}
            page = json.loads(self.call("GET", f"/storage/v1/b/{BUCKET}/o", prefix=prefix + "/", **more))
            found |= {item["name"]: (int(item["size"]), item.get("md5Hash")) for item in page.get("items", ())}
            token = page.get("nextPageToken")
            if not token:
                return found

    def read(self, name):
        return self.call("GET", self.path(name), alt="media")

    def write(self, name, contents, **condition):
        self.call("POST", f"/upload/storage/v1/b/{BUCKET}/o", contents, uploadType="media", name=name, **condition)

    def delete(self, name):
        self.call("DELETE", self.path(name))

    def creates_once(self, name):
        try:
            for _ in range(2):
                self.write(name, b"x", ifGenerationMatch=0)
        except urllib.error.HTTPError as error:
            return error.code == 412
        return False


class Azure:
    """An emulator of Azure's store at AZURE_STORAGE_ENDPOINT."""

    scheme = "az"

    def __init__(self):
        from azure.storage.blob import BlobServiceClient

        key = {"account_name": os.environ["AZURE_STORAGE_ACCOUNT"], "account_key": os.environ["AZURE_STORAGE_KEY"]}
        # A version that also older emulators know.
        service = BlobServiceClient(os.environ["AZURE_STORAGE_ENDPOINT"], credential=key, api_version="2021-12-02")
        self.container = service.get_container_client(BUCKET)

    def make(self):
        self.container.create_container()

    def list(self, prefix):
        blobs = self.container.list_blobs(name_starts_with=prefix + "/")
        md5 = lambda blob: blob.content_settings.content_md5
        return {blob.name: (blob.size, md5(blob) and bytes(md5(blob)).hex()) for blob in blobs}

    def read(self, name):
        return self.container.download_blob(name).readall()

    def write(self, name, contents):
        self.container.upload_blob(name, contents, overwrite=True)

    def delete(self, name):
        self.container.delete_blob(name)

    def creates_once(self, name):
        from azure.core.exceptions import ResourceExistsError

        try:
            for _ in range(2):
                self.container.upload_blob(name, b"x")
        except ResourceExistsError:
            return True
        return False


STORES = {store.scheme: store for store in (S3, Google, Azure)}
