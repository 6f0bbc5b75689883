/* SPDX-License-Identifier: MIT */
/* target/x86/simd-ops.h - the vector instructions that have C semantics, by file.
 * BOTH(name, NAME): Zydis calls it NAME, and VNAME in its VEX form; ONE: under NAME only.
 */
#ifndef TARGET_X86_SIMD_OPS_H
#define TARGET_X86_SIMD_OPS_H

/* clang-format off */
#define SIMD_OPS(BOTH, ONE) \
    /* simd-move.c */ \
    BOTH(movaps, MOVAPS) BOTH(movapd, MOVAPD) BOTH(movups, MOVUPS) BOTH(movupd, MOVUPD) \
    BOTH(movdqa, MOVDQA) BOTH(movdqu, MOVDQU) BOTH(lddqu, LDDQU) BOTH(movntps, MOVNTPS) \
    BOTH(movntpd, MOVNTPD) BOTH(movntdq, MOVNTDQ) BOTH(movntdqa, MOVNTDQA) ONE(movntq, MOVNTQ) \
    BOTH(movd, MOVD) BOTH(movq, MOVQ) ONE(movq2dq, MOVQ2DQ) ONE(movdq2q, MOVDQ2Q) \
    BOTH(movss, MOVSS) BOTH(movsd, MOVSD) BOTH(movlps, MOVLPS) BOTH(movlpd, MOVLPD) \
    BOTH(movhps, MOVHPS) BOTH(movhpd, MOVHPD) BOTH(movlhps, MOVLHPS) BOTH(movhlps, MOVHLPS) \
    BOTH(movddup, MOVDDUP) BOTH(movsldup, MOVSLDUP) BOTH(movshdup, MOVSHDUP) \
    BOTH(pextrb, PEXTRB) BOTH(pextrw, PEXTRW) BOTH(pextrd, PEXTRD) BOTH(pextrq, PEXTRQ) \
    BOTH(extractps, EXTRACTPS) BOTH(pinsrb, PINSRB) BOTH(pinsrw, PINSRW) BOTH(pinsrd, PINSRD) \
    BOTH(pinsrq, PINSRQ) BOTH(insertps, INSERTPS) BOTH(pmovmskb, PMOVMSKB) \
    BOTH(movmskps, MOVMSKPS) BOTH(movmskpd, MOVMSKPD) BOTH(punpcklbw, PUNPCKLBW) \
    BOTH(punpcklwd, PUNPCKLWD) BOTH(punpckldq, PUNPCKLDQ) BOTH(punpcklqdq, PUNPCKLQDQ) \
    BOTH(punpckhbw, PUNPCKHBW) BOTH(punpckhwd, PUNPCKHWD) BOTH(punpckhdq, PUNPCKHDQ) \
    BOTH(punpckhqdq, PUNPCKHQDQ) BOTH(unpcklps, UNPCKLPS) BOTH(unpckhps, UNPCKHPS) \
    BOTH(unpcklpd, UNPCKLPD) BOTH(unpckhpd, UNPCKHPD) BOTH(pshufb, PSHUFB) BOTH(pshufd, PSHUFD) \
    ONE(pshufw, PSHUFW) BOTH(pshuflw, PSHUFLW) BOTH(pshufhw, PSHUFHW) BOTH(shufps, SHUFPS) \
    BOTH(pblendw, PBLENDW) BOTH(shufpd, SHUFPD) BOTH(blendps, BLENDPS) BOTH(blendpd, BLENDPD) \
    ONE(vpblendd, VPBLENDD) BOTH(pblendvb, PBLENDVB) BOTH(blendvps, BLENDVPS) \
    BOTH(blendvpd, BLENDVPD) BOTH(pmovsxbw, PMOVSXBW) BOTH(pmovsxbd, PMOVSXBD) \
    BOTH(pmovsxbq, PMOVSXBQ) BOTH(pmovsxwd, PMOVSXWD) BOTH(pmovsxwq, PMOVSXWQ) \
    BOTH(pmovsxdq, PMOVSXDQ) BOTH(pmovzxbw, PMOVZXBW) BOTH(pmovzxbd, PMOVZXBD) \
    BOTH(pmovzxbq, PMOVZXBQ) BOTH(pmovzxwd, PMOVZXWD) BOTH(pmovzxwq, PMOVZXWQ) \
    BOTH(pmovzxdq, PMOVZXDQ) ONE(vpbroadcastb, VPBROADCASTB) ONE(vpbroadcastw, VPBROADCASTW) \
    ONE(vpbroadcastd, VPBROADCASTD) ONE(vpbroadcastq, VPBROADCASTQ) \
    ONE(vbroadcasti128, VBROADCASTI128) ONE(vbroadcastss, VBROADCASTSS) \
    ONE(vbroadcastsd, VBROADCASTSD) ONE(vbroadcastf128, VBROADCASTF128) \
    ONE(vinserti128, VINSERTI128) ONE(vinsertf128, VINSERTF128) ONE(vextracti128, VEXTRACTI128) \
    ONE(vextractf128, VEXTRACTF128) ONE(vperm2i128, VPERM2I128) ONE(vperm2f128, VPERM2F128) \
    ONE(vpermq, VPERMQ) ONE(vpermpd, VPERMPD) ONE(vpermd, VPERMD) ONE(vpermps, VPERMPS) \
    ONE(vpermilps, VPERMILPS) ONE(vpermilpd, VPERMILPD) ONE(vzeroupper, VZEROUPPER) \
    ONE(vzeroall, VZEROALL) \
    /* simd-integer.c */ \
    BOTH(paddb, PADDB) BOTH(paddw, PADDW) BOTH(paddd, PADDD) BOTH(paddq, PADDQ) \
    BOTH(psubb, PSUBB) BOTH(psubw, PSUBW) BOTH(psubd, PSUBD) BOTH(psubq, PSUBQ) \
    BOTH(paddsb, PADDSB) BOTH(paddsw, PADDSW) BOTH(psubsb, PSUBSB) BOTH(psubsw, PSUBSW) \
    BOTH(paddusb, PADDUSB) BOTH(paddusw, PADDUSW) BOTH(psubusb, PSUBUSB) BOTH(psubusw, PSUBUSW) \
    BOTH(pmullw, PMULLW) BOTH(pmulhw, PMULHW) BOTH(pmulhuw, PMULHUW) BOTH(pmulhrsw, PMULHRSW) \
    BOTH(pmulld, PMULLD) BOTH(pmuludq, PMULUDQ) BOTH(pmuldq, PMULDQ) BOTH(pavgb, PAVGB) \
    BOTH(pavgw, PAVGW) BOTH(pminub, PMINUB) BOTH(pminuw, PMINUW) BOTH(pminud, PMINUD) \
    BOTH(pminsb, PMINSB) BOTH(pminsw, PMINSW) BOTH(pminsd, PMINSD) BOTH(pmaxub, PMAXUB) \
    BOTH(pmaxuw, PMAXUW) BOTH(pmaxud, PMAXUD) BOTH(pmaxsb, PMAXSB) BOTH(pmaxsw, PMAXSW) \
    BOTH(pmaxsd, PMAXSD) BOTH(pabsb, PABSB) BOTH(pabsw, PABSW) BOTH(pabsd, PABSD) \
    BOTH(psignb, PSIGNB) BOTH(psignw, PSIGNW) BOTH(psignd, PSIGND) BOTH(pcmpeqb, PCMPEQB) \
    BOTH(pcmpeqw, PCMPEQW) BOTH(pcmpeqd, PCMPEQD) BOTH(pcmpeqq, PCMPEQQ) BOTH(pcmpgtb, PCMPGTB) \
    BOTH(pcmpgtw, PCMPGTW) BOTH(pcmpgtd, PCMPGTD) BOTH(pcmpgtq, PCMPGTQ) BOTH(pand, PAND) \
    BOTH(andps, ANDPS) BOTH(andpd, ANDPD) BOTH(pandn, PANDN) BOTH(andnps, ANDNPS) \
    BOTH(andnpd, ANDNPD) BOTH(por, POR) BOTH(orps, ORPS) BOTH(orpd, ORPD) BOTH(pxor, PXOR) \
    BOTH(xorps, XORPS) BOTH(xorpd, XORPD) BOTH(phaddw, PHADDW) BOTH(phaddd, PHADDD) \
    BOTH(phaddsw, PHADDSW) BOTH(phsubw, PHSUBW) BOTH(phsubd, PHSUBD) BOTH(phsubsw, PHSUBSW) \
    BOTH(pmaddwd, PMADDWD) BOTH(pmaddubsw, PMADDUBSW) BOTH(psadbw, PSADBW) \
    BOTH(mpsadbw, MPSADBW) BOTH(phminposuw, PHMINPOSUW) BOTH(packsswb, PACKSSWB) \
    BOTH(packssdw, PACKSSDW) BOTH(packuswb, PACKUSWB) BOTH(packusdw, PACKUSDW) \
    BOTH(psllw, PSLLW) BOTH(pslld, PSLLD) BOTH(psllq, PSLLQ) BOTH(psrlw, PSRLW) \
    BOTH(psrld, PSRLD) BOTH(psrlq, PSRLQ) BOTH(psraw, PSRAW) BOTH(psrad, PSRAD) \
    ONE(vpsllvd, VPSLLVD) ONE(vpsllvq, VPSLLVQ) ONE(vpsrlvd, VPSRLVD) ONE(vpsrlvq, VPSRLVQ) \
    ONE(vpsravd, VPSRAVD) BOTH(pslldq, PSLLDQ) BOTH(psrldq, PSRLDQ) BOTH(palignr, PALIGNR) \
    BOTH(ptest, PTEST) ONE(vtestps, VTESTPS) ONE(vtestpd, VTESTPD) \
    /* simd-fp.c */ \
    BOTH(addps, ADDPS) BOTH(addpd, ADDPD) BOTH(addss, ADDSS) BOTH(addsd, ADDSD) \
    BOTH(subps, SUBPS) BOTH(subpd, SUBPD) BOTH(subss, SUBSS) BOTH(subsd, SUBSD) \
    BOTH(mulps, MULPS) BOTH(mulpd, MULPD) BOTH(mulss, MULSS) BOTH(mulsd, MULSD) \
    BOTH(divps, DIVPS) BOTH(divpd, DIVPD) BOTH(divss, DIVSS) BOTH(divsd, DIVSD) \
    BOTH(minps, MINPS) BOTH(minpd, MINPD) BOTH(minss, MINSS) BOTH(minsd, MINSD) \
    BOTH(maxps, MAXPS) BOTH(maxpd, MAXPD) BOTH(maxss, MAXSS) BOTH(maxsd, MAXSD) \
    BOTH(sqrtps, SQRTPS) BOTH(sqrtpd, SQRTPD) BOTH(sqrtss, SQRTSS) BOTH(sqrtsd, SQRTSD) \
    BOTH(rcpps, RCPPS) BOTH(rcpss, RCPSS) BOTH(rsqrtps, RSQRTPS) BOTH(rsqrtss, RSQRTSS) \
    BOTH(addsubps, ADDSUBPS) BOTH(addsubpd, ADDSUBPD) BOTH(haddps, HADDPS) BOTH(haddpd, HADDPD) \
    BOTH(hsubps, HSUBPS) BOTH(hsubpd, HSUBPD) BOTH(roundps, ROUNDPS) BOTH(roundpd, ROUNDPD) \
    BOTH(roundss, ROUNDSS) BOTH(roundsd, ROUNDSD) BOTH(cmpps, CMPPS) BOTH(cmppd, CMPPD) \
    BOTH(cmpss, CMPSS) BOTH(cmpsd, CMPSD) BOTH(comiss, COMISS) BOTH(comisd, COMISD) \
    BOTH(ucomiss, UCOMISS) BOTH(ucomisd, UCOMISD) BOTH(cvtsi2ss, CVTSI2SS) \
    BOTH(cvtsi2sd, CVTSI2SD) BOTH(cvtss2sd, CVTSS2SD) BOTH(cvtsd2ss, CVTSD2SS) \
    BOTH(cvtss2si, CVTSS2SI) BOTH(cvtsd2si, CVTSD2SI) BOTH(cvttss2si, CVTTSS2SI) \
    BOTH(cvttsd2si, CVTTSD2SI) BOTH(cvtdq2ps, CVTDQ2PS) BOTH(cvtdq2pd, CVTDQ2PD) \
    BOTH(cvtps2dq, CVTPS2DQ) BOTH(cvttps2dq, CVTTPS2DQ) BOTH(cvtpd2dq, CVTPD2DQ) \
    BOTH(cvttpd2dq, CVTTPD2DQ) BOTH(cvtps2pd, CVTPS2PD) BOTH(cvtpd2ps, CVTPD2PS) \
    ONE(vcvtph2ps, VCVTPH2PS) ONE(vcvtps2ph, VCVTPS2PH) ONE(cvtpi2pd, CVTPI2PD) \
    ONE(cvtps2pi, CVTPS2PI) ONE(cvttps2pi, CVTTPS2PI) ONE(cvtpd2pi, CVTPD2PI) \
    ONE(cvttpd2pi, CVTTPD2PI) ONE(cvtpi2ps, CVTPI2PS) BOTH(dpps, DPPS) BOTH(dppd, DPPD) \
    ONE(vfmadd132ps, VFMADD132PS) ONE(vfmadd132pd, VFMADD132PD) ONE(vfmadd132ss, VFMADD132SS) \
    ONE(vfmadd132sd, VFMADD132SD) ONE(vfmadd213ps, VFMADD213PS) ONE(vfmadd213pd, VFMADD213PD) \
    ONE(vfmadd213ss, VFMADD213SS) ONE(vfmadd213sd, VFMADD213SD) ONE(vfmadd231ps, VFMADD231PS) \
    ONE(vfmadd231pd, VFMADD231PD) ONE(vfmadd231ss, VFMADD231SS) ONE(vfmadd231sd, VFMADD231SD) \
    ONE(vfmsub132ps, VFMSUB132PS) ONE(vfmsub132pd, VFMSUB132PD) ONE(vfmsub132ss, VFMSUB132SS) \
    ONE(vfmsub132sd, VFMSUB132SD) ONE(vfmsub213ps, VFMSUB213PS) ONE(vfmsub213pd, VFMSUB213PD) \
    ONE(vfmsub213ss, VFMSUB213SS) ONE(vfmsub213sd, VFMSUB213SD) ONE(vfmsub231ps, VFMSUB231PS) \
    ONE(vfmsub231pd, VFMSUB231PD) ONE(vfmsub231ss, VFMSUB231SS) ONE(vfmsub231sd, VFMSUB231SD) \
    ONE(vfnmadd132ps, VFNMADD132PS) ONE(vfnmadd132pd, VFNMADD132PD) \
    ONE(vfnmadd132ss, VFNMADD132SS) ONE(vfnmadd132sd, VFNMADD132SD) \
    ONE(vfnmadd213ps, VFNMADD213PS) ONE(vfnmadd213pd, VFNMADD213PD) \
    ONE(vfnmadd213ss, VFNMADD213SS) ONE(vfnmadd213sd, VFNMADD213SD) \
    ONE(vfnmadd231ps, VFNMADD231PS) ONE(vfnmadd231pd, VFNMADD231PD) \
    ONE(vfnmadd231ss, VFNMADD231SS) ONE(vfnmadd231sd, VFNMADD231SD) \
    ONE(vfnmsub132ps, VFNMSUB132PS) ONE(vfnmsub132pd, VFNMSUB132PD) \
    ONE(vfnmsub132ss, VFNMSUB132SS) ONE(vfnmsub132sd, VFNMSUB132SD) \
    ONE(vfnmsub213ps, VFNMSUB213PS) ONE(vfnmsub213pd, VFNMSUB213PD) \
    ONE(vfnmsub213ss, VFNMSUB213SS) ONE(vfnmsub213sd, VFNMSUB213SD) \
    ONE(vfnmsub231ps, VFNMSUB231PS) ONE(vfnmsub231pd, VFNMSUB231PD) \
    ONE(vfnmsub231ss, VFNMSUB231SS) ONE(vfnmsub231sd, VFNMSUB231SD) \
    ONE(vfmaddsub132ps, VFMADDSUB132PS) ONE(vfmaddsub132pd, VFMADDSUB132PD) \
    ONE(vfmaddsub213ps, VFMADDSUB213PS) ONE(vfmaddsub213pd, VFMADDSUB213PD) \
    ONE(vfmaddsub231ps, VFMADDSUB231PS) ONE(vfmaddsub231pd, VFMADDSUB231PD) \
    ONE(vfmsubadd132ps, VFMSUBADD132PS) ONE(vfmsubadd132pd, VFMSUBADD132PD) \
    ONE(vfmsubadd213ps, VFMSUBADD213PS) ONE(vfmsubadd213pd, VFMSUBADD213PD) \
    ONE(vfmsubadd231ps, VFMSUBADD231PS) ONE(vfmsubadd231pd, VFMSUBADD231PD) \
    /* simd-string.c */ \
    BOTH(pcmpestri, PCMPESTRI) BOTH(pcmpistri, PCMPISTRI) BOTH(pcmpestrm, PCMPESTRM) \
    BOTH(pcmpistrm, PCMPISTRM) \
    /* simd-crypto.c */ \
    BOTH(aesenc, AESENC) BOTH(aesenclast, AESENCLAST) BOTH(aesdec, AESDEC) \
    BOTH(aesdeclast, AESDECLAST) BOTH(aesimc, AESIMC) BOTH(aeskeygenassist, AESKEYGENASSIST) \
    BOTH(pclmulqdq, PCLMULQDQ) ONE(sha1rnds4, SHA1RNDS4) ONE(sha1nexte, SHA1NEXTE) \
    ONE(sha1msg1, SHA1MSG1) ONE(sha1msg2, SHA1MSG2) ONE(sha256rnds2, SHA256RNDS2) \
    ONE(sha256msg1, SHA256MSG1) ONE(sha256msg2, SHA256MSG2) \
    /* simd-mmx.c */ \
    ONE(emms, EMMS)
/* clang-format on */

struct tcg_cpu;
struct ir_native;
#define DECLARE(name, NAME)                                                                        \
    void x86_sem_##name(struct tcg_cpu *cpu, const struct ir_native *n, void *mem);
SIMD_OPS(DECLARE, DECLARE)
#undef DECLARE

#endif
