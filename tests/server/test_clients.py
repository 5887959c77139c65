"""Other people's clients, unchanged: the official package, and requests in the form that VLMEvalKit sends."""
import base64
import io
import json
import os
import pathlib
import sys
import unittest

from serving import PICTURES, Server, user

OWN = pathlib.Path(os.environ["VL2_SOURCE"]) / "build/page/bin/python" # made by `scripts/setup page`
try:
    import openai
except ImportError:
    if OWN.exists() and pathlib.Path(sys.prefix) != OWN.parent.parent:
        os.execv(OWN, [str(OWN), "-B", *sys.argv])
    openai = None
try:
    from PIL import Image
except ImportError:
    Image = None


@unittest.skipIf(openai is None, "the openai package is missing (`scripts/setup page` installs it)")
class OpenAiTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--api-key", "secret", "--chunk-size", "64")
        cls.client = cls.to("secret")

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        status = cls.server.stop()
        assert not status, status

    @classmethod
    def to(cls, key):
        return openai.OpenAI(base_url=f"http://127.0.0.1:{cls.server.port}/v1", api_key=key, max_retries=0)

    def test_models(self):
        self.assertEqual([model.id for model in self.client.models.list()], ["mini-base"])
        model = self.client.models.retrieve("mini-base")
        self.assertEqual(model.id, "mini-base")
        self.assertGreater(model.context_length, 0)
        self.assertEqual(model.input_modalities, ["text", "image"])
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("gpt-4o")

    def test_whole_and_streamed(self):
        body = {"model": "mini-base", "messages": user("What is it?", 0), "max_tokens": 12, "temperature": 1, "seed": 3}
        whole = self.client.chat.completions.create(**body, logprobs=True, top_logprobs=2)
        choice = whole.choices[0]
        self.assertEqual(choice.message.role, "assistant")
        self.assertEqual(len(choice.logprobs.content[0].top_logprobs), 2)
        self.assertEqual(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens)
        text, usage, finish = "", None, None
        for chunk in self.client.chat.completions.create(**body, stream=True, stream_options={"include_usage": True}):
            usage = chunk.usage or usage
            for part in chunk.choices:
                text += part.delta.content or ""
                finish = part.finish_reason or finish
        self.assertEqual((text, finish), (choice.message.content, choice.finish_reason))
        self.assertEqual(usage.completion_tokens, whole.usage.completion_tokens)

    def test_the_helper_that_gathers_a_stream(self):
        body = {"model": "mini-base", "messages": user("Go on"), "max_tokens": 12}
        said = self.client.chat.completions.create(**body).choices[0].message.content
        with self.client.chat.completions.stream(**body, stop=said[-1]) as stream: # it minds an answer that is cut off
            kinds = [event.type for event in stream]
            final = stream.get_final_completion()
        self.assertIn("content.delta", kinds)
        self.assertEqual(final.choices[0].message.content, said[:said.index(said[-1])].rstrip())

    def test_errors_are_its_errors(self):
        ask = self.client.chat.completions.create
        for error, body in ((openai.BadRequestError, {"temperature": 7}), (openai.NotFoundError, {"model": "gpt-4o"}),
                            (openai.BadRequestError, {"response_format": {"type": "json_object"}})):
            with self.assertRaises(error):
                ask(**{"model": "mini-base", "messages": user("x"), **body})
        with self.assertRaises(openai.AuthenticationError):
            self.to("wrong").models.list()

    def test_leaving_a_stream(self):
        stream = self.client.chat.completions.create(model="mini-base", messages=user("Talk"), max_tokens=2000, stream=True, temperature=2)
        next(iter(stream))
        stream.close()
        self.assertTrue(self.client.chat.completions.create(model="mini-base", messages=user("hi"), max_tokens=1).choices)


@unittest.skipIf(Image is None, "Pillow is missing (`scripts/setup page` installs it)")
class VlmEvalKitTest(unittest.TestCase):
    """As its OpenAIWrapper.generate_inner makes a request: JPEG again, "detail": "low", n, one JSON text."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()

    @classmethod
    def tearDownClass(cls):
        status = cls.server.stop()
        assert not status, status

    def post(self, detail, pictures):
        content = [{"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{self.again(data)}", "detail": detail}}
                   for data in pictures] + [{"type": "text", "text": "Question: what is it?\nAnswer:"}]
        payload = {"model": "mini-base", "messages": [{"role": "system", "content": "Be exact."}, {"role": "user", "content": content}],
                   "n": 1, "temperature": 0, "max_tokens": 20}
        headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-anything"}
        status, data, _ = self.server.request("POST", "/v1/chat/completions", json.dumps(payload).encode(), headers)
        self.assertEqual(status, 200, data)
        return json.loads(data)

    @staticmethod
    def again(data):
        out = io.BytesIO()
        Image.open(io.BytesIO(data)).convert("RGB").save(out, format="JPEG")
        return base64.b64encode(out.getvalue()).decode()

    def test_low_detail_lowers_nothing(self):
        low, high = self.post("low", PICTURES[:2]), self.post("high", PICTURES[:2])
        self.assertEqual(low["usage"]["prompt_tokens"], high["usage"]["prompt_tokens"])
        self.assertEqual(low["usage"]["prompt_tokens_details"]["image_tokens"], high["usage"]["prompt_tokens_details"]["image_tokens"])
        self.assertTrue(low["choices"][0]["message"]["content"].strip())
        self.assertEqual(low["choices"][0]["message"], high["choices"][0]["message"])

    def test_what_is_sent_is_what_is_seen(self):
        """A lossless picture sent as such counts as many tokens as its JPEG: the size decides, nothing else."""
        _, png = self.server.ask(messages=user("?", 0), max_tokens=1)
        jpeg = self.post("low", PICTURES[:1])
        self.assertEqual(png["usage"]["prompt_tokens_details"]["image_tokens"], jpeg["usage"]["prompt_tokens_details"]["image_tokens"])


if __name__ == "__main__":
    unittest.main()
