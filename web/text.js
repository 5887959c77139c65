/* What the page says, in English and Chinese. An element with data-text="key" shows texts[key]. */

const texts = {
  en: {
    skip: "Skip to the message box", model: "Model", language: "Language", newConversation: "New conversation",
    settings: "Settings", welcome: "Ask about a picture",
    welcomeText: "Drop pictures anywhere, paste them, or choose files; then ask.",
    addPictures: "Add pictures", find: "Find…", grounding: "Answer with boxes", place: "Place picture",
    send: "Send", stop: "Stop", regenerate: "Regenerate", removeLast: "Remove last turn", system: "System message",
    apiKey: "API key", reset: "Defaults", close: "Close", dropHere: "Drop pictures here", edit: "Edit",
    message: "Message", ask: "Ask…", you: "You", model_said: "Answer", download: "Download picture", picture: "Picture",
    removePicture: "Remove picture", boxes: "Boxes", thing: "the thing to find", copy: "Copy",
    earlier: "Move earlier", later: "Move later",
    thinking: "Reading the pictures and the question…", stopped: "stopped", lengthEnd: "the answer was cut at its longest",
    notPicture: "is not a picture that this browser can show", dropped: "The oldest turns were left out: they no longer fit.",
    unreachable: "The server cannot be reached. What you wrote is kept; try again.",
    demo: "This is the small demo model: it knows drawn shapes, words and charts, not photos.",
    loading: "The model is being loaded…", empty: "Write a question or add a picture.",
    stats: (t) => `${t.tokens} tokens · first after ${t.first} s · ${t.speed} tokens/s`,
    prompt: (n, c) => `${n} prompt tokens${c ? `, ${c} from the cache` : ""}`,
    temperature: "Temperature", top_p: "Top-p", repetition_penalty: "Repetition penalty",
    max_tokens: "Max new tokens", history: "Max history tokens", answering: "answering", ready: "ready",
  },
  zh: {
    skip: "跳到输入框", model: "模型", language: "语言", newConversation: "新对话", settings: "设置",
    welcome: "就图片提问", welcomeText: "把图片拖到页面上、粘贴或选择文件,然后提问。",
    addPictures: "添加图片", find: "查找…", grounding: "回答带框", place: "插入图片位置", send: "发送", stop: "停止",
    regenerate: "重新生成", removeLast: "删除上一轮", system: "系统消息", apiKey: "API 密钥", reset: "默认值",
    close: "关闭", dropHere: "把图片放在这里", edit: "编辑", message: "消息", ask: "请提问…", you: "你",
    model_said: "回答", download: "下载图片", picture: "图片", removePicture: "移除图片", boxes: "框", thing: "要找的东西",
    copy: "复制", earlier: "前移", later: "后移",
    thinking: "正在看图片和问题…", stopped: "已停止", lengthEnd: "回答达到最大长度", notPicture: "不是浏览器能显示的图片",
    dropped: "最早的几轮已放不下,没有发送。", unreachable: "连不上服务器。你写的内容还在,请再试一次。",
    demo: "这是小型演示模型:只认识画出来的图形、文字和图表,不认识照片。", loading: "正在加载模型…",
    empty: "请写一个问题或添加图片。",
    stats: (t) => `${t.tokens} 个词元 · ${t.first} 秒后开始 · 每秒 ${t.speed} 个`,
    prompt: (n, c) => `提示 ${n} 个词元${c ? `,其中 ${c} 个来自缓存` : ""}`,
    temperature: "温度", top_p: "Top-p", repetition_penalty: "重复惩罚", max_tokens: "最多新词元",
    history: "最多历史词元", answering: "正在回答", ready: "完成",
  },
};

let language = "en";

export function say(key, ...values) {
  const text = texts[language][key] ?? texts.en[key];
  return typeof text === "function" ? text(...values) : text;
}

export function setLanguage(name) {
  language = name in texts ? name : "en";
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = say(element.dataset.text);
  const message = document.getElementById("message");
  message.setAttribute("aria-label", say("message"));
  message.placeholder = say("ask");
}

export const preferredLanguage = () => ((navigator.language || "en").startsWith("zh") ? "zh" : "en");
