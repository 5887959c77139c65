/* What the page says, in English and Chinese. data-text="key" fills an element's text, data-aria its
 * label, data-title its title. */

const texts = {
  en: {
    skip: "Skip to the message box", model: "Model", language: "Language", newConversation: "New conversation",
    settings: "Settings", history_title: "History", historyText: "Conversations are kept in this browser only.",
    historyEmpty: "Nothing is kept yet.", open: "Open", remove: "Delete", untitled: "Pictures",
    turns: (n) => (n === 1 ? "1 question" : `${n} questions`), current: "open now",
    welcome: "Ask about a picture", dropHere: "Drop pictures here",
    dropMore: "or paste them, or choose files; several at once if you like. Then write your question below.",
    examples: "Or begin with an example", examplesNote: "Examples are asked at temperature 0, whatever the settings say.",
    addPictures: "Add pictures", find: "Find a thing", grounding: "Answer with boxes", place: "Place picture",
    findHelp: "<|ref|>…<|/ref|>: asks where a thing is", groundingHelp: "<|grounding|>: an answer that shows what it speaks of",
    placeHelp: "<image>: where in the text a picture belongs",
    send: "Send", stop: "Stop", regenerate: "Regenerate", removeLast: "Remove last turn", system: "System message",
    apiKey: "API key", theme: "Appearance", themeAuto: "As the system", themeLight: "Light", themeDark: "Dark",
    reset: "Defaults", close: "Close", edit: "Edit", cancel: "Cancel",
    editing: "You are editing an earlier message. Sending replaces it and what follows.",
    message: "Message", ask: "Ask about the picture…", you: "You", answer: "Answer", download: "Download picture",
    picture: "Picture", conversation: "Conversation", pending: "Pictures to send", composer: "Your question", toEnd: "To the newest",
    removePicture: "Remove picture", boxes: "Boxes", copy: "Copy", copied: "Copied", copyCode: "Copy code",
    earlier: "Move earlier: picture", later: "Move later: picture", inFront: "before the text",
    at: (n) => `at <image> ${n}`, surplus: "There are more <image> marks than pictures: the first ones are left out.",
    reading: "Reading the pictures and the question…", thinking: "Reading the question…",
    stopped: "stopped", lengthEnd: "cut at the longest answer allowed in the settings",
    notPicture: (name) => `${name} is not a picture.`,
    tooMany: (n) => `This server takes ${n} pictures in a conversation: remove some, or begin a new one.`,
    dropped: (n) => `The ${n === 1 ? "turn" : `${n} turns`} above no longer fit${n === 1 ? "s" : ""} and ${n === 1 ? "is" : "are"} not sent.`,
    droppedAll: "No earlier turn fits any more: this question is sent alone.",
    unreachable: "The server cannot be reached. What you wrote is kept: Regenerate tries again.",
    unreachableNow: "The server cannot be reached. The page goes on trying.",
    broken: "The connection broke before the answer was complete.",
    needsKey: "This server asks for an API key: enter it in the settings.",
    loading: "The model is being loaded…", full: "The browser's storage is full: this conversation is lost when the page is closed. Delete older ones in History.",
    notKept: "This browser keeps nothing here (a private window?): the conversation is lost when the page is closed.",
    demo: "This is the small demo model: it knows drawn shapes, words and numbers, not photos.",
    empty: "Write a question or add a picture.", keys: "Enter sends, Shift+Enter breaks the line, Esc stops",
    tokens: (n) => (n === 1 ? "1 token" : `${n} tokens`), about: (n) => `about ${n} tokens`, took: (s) => `${s} s`,
    speed: (v) => `${v} tokens/s`, first: (s) => `first after ${s} s`,
    prompt: (n, c) => `prompt ${n} tokens${c ? `, ${c} of them cached` : ""}`,
    withTemperature: (t) => `temperature ${t}`, withTopP: (p) => `top-p ${p}`, withPenalty: (p) => `penalty ${p}`,
    temperatureHelp: "Temperature 0 takes the likeliest answer, the same each time: the surest for boxes and for reading text.",
    temperature: "Temperature", top_p: "Top-p", repetition_penalty: "Repetition penalty",
    max_tokens: "Max new tokens", history: "Max history tokens",
    off: "off", serverDefault: "server's", none: "none",
    answering: "Answering…", ready: "The answer is complete.", noPreview: "no preview",
    boxNames: (n) => (n === 1 ? "1 box" : `${n} boxes`), show: "Show",
  },
  zh: {
    skip: "跳到输入框", model: "模型", language: "语言", newConversation: "新对话", settings: "设置",
    history_title: "历史", historyText: "对话只保存在这个浏览器里。", historyEmpty: "还没有保存的对话。", open: "打开",
    remove: "删除", untitled: "图片", turns: (n) => `${n} 个问题`, current: "当前",
    welcome: "就图片提问", dropHere: "把图片拖到这里",
    dropMore: "也可以粘贴或选择文件，一次可以有好几张；然后在下面写问题。", examples: "或者从一个例子开始",
    examplesNote: "例子总是以温度 0 提问，与设置无关。",
    addPictures: "添加图片", find: "查找物体", grounding: "回答带框", place: "插入图片位置",
    findHelp: "<|ref|>…<|/ref|>：问一个物体在哪里", groundingHelp: "<|grounding|>：回答时框出所说的物体",
    placeHelp: "<image>：图片在文字中的位置",
    send: "发送", stop: "停止", regenerate: "重新生成", removeLast: "删除上一轮", system: "系统消息", apiKey: "API 密钥",
    theme: "外观", themeAuto: "跟随系统", themeLight: "浅色", themeDark: "深色",
    reset: "默认值", close: "关闭", edit: "编辑", cancel: "取消", editing: "正在编辑较早的消息：发送后会替换它和后面的内容。",
    message: "消息", ask: "就图片提问…", you: "你", answer: "回答", download: "下载图片", picture: "图片",
    conversation: "对话", pending: "待发送的图片", composer: "你的问题", toEnd: "到最新处", removePicture: "移除图片", boxes: "框",
    copy: "复制", copied: "已复制", copyCode: "复制代码", earlier: "前移图片", later: "后移图片", inFront: "在文字之前",
    at: (n) => `在第 ${n} 个 <image> 处`, surplus: "<image> 标记比图片多：最前面的标记会被忽略。",
    reading: "正在看图片和问题…", thinking: "正在看问题…", stopped: "已停止", lengthEnd: "达到设置中的最大长度",
    notPicture: (name) => `${name} 不是图片。`, tooMany: (n) => `这个服务器每个对话最多接受 ${n} 张图片：请移除一些，或开始新对话。`,
    dropped: (n) => `以上 ${n} 轮已放不下，没有发送。`, droppedAll: "较早的对话都放不下了：只发送这个问题。",
    unreachable: "连不上服务器。你写的内容还在：点“重新生成”再试。", unreachableNow: "连不上服务器，页面会继续尝试。",
    broken: "回答还没完，连接就断了。", needsKey: "这个服务器需要 API 密钥：请在设置中填写。", loading: "正在加载模型…",
    full: "浏览器的存储空间已满：关闭页面后这个对话会丢失。请在“历史”中删除旧的对话。",
    notKept: "浏览器没有在这里保存内容（可能是隐私窗口）：关闭页面后对话会丢失。",
    demo: "这是小型演示模型：只认识画出来的图形、文字和数字，不认识照片。",
    empty: "请写一个问题或添加图片。", keys: "回车发送，Shift+回车换行，Esc 停止",
    tokens: (n) => `${n} 个词元`, about: (n) => `约 ${n} 个词元`, took: (s) => `${s} 秒`,
    speed: (v) => `每秒 ${v} 个词元`, first: (s) => `${s} 秒后开始`,
    prompt: (n, c) => `提示 ${n} 个词元${c ? `，其中 ${c} 个来自缓存` : ""}`,
    withTemperature: (t) => `温度 ${t}`, withTopP: (p) => `top-p ${p}`, withPenalty: (p) => `重复惩罚 ${p}`,
    temperatureHelp: "温度 0 总是取最可能的回答，每次相同：画框和读文字时最可靠。",
    temperature: "温度", top_p: "Top-p", repetition_penalty: "重复惩罚", max_tokens: "最多新词元", history: "最多历史词元",
    off: "关", serverDefault: "服务器", none: "无", answering: "正在回答…", ready: "回答完毕。", noPreview: "无法预览",
    boxNames: (n) => `${n} 个框`, show: "显示",
  },
};

let language = "en";

export function say(key, ...values) {
  const text = texts[language][key] ?? texts.en[key];
  return typeof text === "function" ? text(...values) : text;
}

export const tagOf = { en: "en", zh: "zh-CN" };

/* The language of a text that people or the model wrote, where it is not the page's. */
export function languageOf(text) {
  const chinese = (text.match(/[\u3400-\u9fff]/g) ?? []).length;
  const latin = (text.match(/[A-Za-z]+/g) ?? []).length;
  return chinese === 0 && latin === 0 ? "" : chinese > latin ? "zh" : "en";
}

export function markLanguage(element, text) {
  const found = languageOf(text);
  if (found && found !== language) element.lang = tagOf[found];
  else element.removeAttribute("lang");
}

export function setLanguage(name) {
  language = Object.hasOwn(texts, name) ? name : "en";
  document.documentElement.lang = tagOf[language];
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = say(element.dataset.text);
  for (const element of document.querySelectorAll("[data-aria]")) element.setAttribute("aria-label", say(element.dataset.aria));
  for (const element of document.querySelectorAll("[data-title]")) element.title = say(element.dataset.title);
  const message = document.getElementById("message");
  message.setAttribute("aria-label", say("message"));
  message.placeholder = say("ask");
}

export const preferredLanguage = () => ((navigator.language || "en").startsWith("zh") ? "zh" : "en");
